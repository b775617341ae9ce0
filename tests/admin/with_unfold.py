"""Opens every page of the section in django-unfold's theme: python -m tests.admin.with_unfold

The output is JSON.
"""

from __future__ import annotations

import json
import sys

import django
from django.core.management import call_command

SCREENS = ("overview", "invalidate", "warmers", "log", "entries", "advice")


def main() -> None:
    django.setup()
    from django.contrib.auth.models import User
    from django.test import Client

    from testproject.airports.models import Country

    for database in ("default", "cache"):
        call_command("migrate", database=database, verbosity=0)
    Country.objects.create(code="FR", name="France")
    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.create_superuser("boss"))
    pages = {screen: client.get(f"/admin/cachelayers/{screen}/") for screen in SCREENS}
    sent = {"rows": "airports.Country FR", "confirm": "1"}
    pages |= {
        "index": client.get("/admin/"),
        "preview": client.get("/admin/cachelayers/invalidate/", {"rows": sent["rows"]}),
        "result": client.post("/admin/cachelayers/invalidate/", sent, follow=True),
        "list": client.get("/admin/airports/country/"),
        "row": client.get("/admin/airports/country/FR/change/"),
    }
    found = {name: (page.status_code, page.content.decode()) for name, page in pages.items()}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
