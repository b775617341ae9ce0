"""A worker process of the site, with the site's own settings. Started by the tests.

It reads lines of JSON, ``["get", PATH]``, ``["edit", SLUG, TEXT]`` or ``["clear"]``, and answers
each with another.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import django


def get(path: str) -> dict[str, Any]:
    """Show a page; tell whether it was made, and not found in the cache."""
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    began = time.monotonic()
    with CaptureQueriesContext(connection) as asked:
        response = Client(SERVER_NAME="127.0.0.1").get(path)
    return {
        "status": response.status_code,
        "text": response.content.decode(),
        "is_made": any('FROM "pages_page"' in query["sql"] for query in asked.captured_queries),
        "seconds": time.monotonic() - began,
    }


def edit(slug: str, text: str) -> dict[str, Any]:
    """Change the text of a page in the admin, as the user demo."""
    from django.test import Client

    from testproject.pages.models import Page

    page = Page.objects.get(slug=slug)
    client = Client(SERVER_NAME="127.0.0.1")
    assert client.login(username="demo", password="demo")
    form = {"title": page.title, "slug": slug, "summary": page.summary, "menu_position": ""}
    response = client.post(f"/admin/pages/page/{page.pk}/change/", {**form, "text": text})
    return {"status": response.status_code}


def clear() -> dict[str, Any]:
    """Clear the cache."""
    from django.core.cache import cache

    cache.clear()
    return {}


COMMANDS: dict[str, Callable[..., dict[str, Any]]] = {"get": get, "edit": edit, "clear": clear}


def main() -> None:
    django.setup()
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        sys.stdout.write(json.dumps(COMMANDS[command](*arguments)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
