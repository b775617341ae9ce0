"""The page on what cachelayers changes contains all of its changes."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from cachelayers.backends.database.raising import TABLE as EVENTS
from tests.environment import PROJECT

PAGE = (PROJECT / "docs" / "what_it_changes.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"cachelayers_[a-z]+", PAGE)) - {"cachelayers_"}

SITE = """
import inspect, json, sys
import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "cachelayers"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
    CACHES={"default": {"BACKEND": "cachelayers.backends.DatabaseCache", "LOCATION": "default"}},
    CACHELAYERS={"TRACK": ["auth"]},
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
)

import django.core.cache, django.core.handlers.wsgi
import django.core.management, django.db.backends.sqlite3.base, django.http.response
import django.template.backends.django, django.urls.base, django.utils.translation.trans_real
from django.db import connection, connections

PLAIN = (str, int, float, type(None))  # such as counters of Django's own

def attributes():
    found = {}
    for module in list(sys.modules.values()):
        if module.__name__.startswith(("django.", "asgiref.")):
            for name, value in list(vars(module).items()):
                found[module, name] = value
                if inspect.isclass(value) and value.__module__ == module.__name__:
                    found |= {(value, own): its for own, its in vars(value).items()}
    return found

before = attributes()
django.setup()
django.template.engines["django"].from_string("{{ a }}").render({"a": 1})
django.utils.translation.activate("de")
django.core.management.call_command("migrate", verbosity=0)
with connection.cursor() as cursor:
    cursor.execute("SELECT type, name FROM sqlite_master WHERE name LIKE 'cachelayers%'")
    made = cursor.fetchall()
after = attributes()
known = {owner for owner, _ in before}
imported = {(owner, name) for (owner, name), value in after.items() if inspect.ismodule(value)}
changed = [
    f"{owner.__name__}.{name}"
    for (owner, name), value in after.items()
    if owner in known and (owner, name) not in imported and not name.startswith("__")
    and value is not before.get((owner, name)) and not isinstance(value, PLAIN)
    and value is not django.utils.translation.trans_real._default  # made at its first use
]
own = connections["default"]
methods = [f"connection.{name}" for name in vars(own) if callable(getattr(type(own), name, None))]
print(json.dumps({
    "tables": [name for kind, name in made if kind == "table"],
    "triggers": [name for kind, name in made if kind == "trigger"],
    "middleware": list(settings.MIDDLEWARE),
    "changed": sorted(changed),
    "connection": sorted(methods),
    "wrappers": [one.__module__ for one in own.execute_wrappers],
    "engine": [
        name
        for name in vars(django.template.engines["django"].engine)
        if hasattr(django.template.Engine, name) and name != "template_loaders"
    ],
}))
django.core.management.call_command("migrate", "cachelayers", "zero", verbosity=0)
with connection.cursor() as cursor:
    cursor.execute("SELECT name FROM sqlite_master WHERE name LIKE 'cachelayers%'")
    print(json.dumps(cursor.fetchall()))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """Return what a fresh site has after `migrate`, and what is left after the undoing."""
    path = tmp_path_factory.mktemp("site") / "site.sqlite3"
    printed = subprocess.check_output(
        [sys.executable, "-c", SITE, str(path)], cwd=PROJECT, text=True, timeout=60
    )
    return [json.loads(line) for line in printed.splitlines()]


def test_it_names_all_tables_and_no_others(found: list[dict[str, list[str]]]) -> None:
    assert {*found[0]["tables"], EVENTS} == NAMED
    assert found[0]["triggers"]


def test_it_names_what_is_wrapped(found: list[dict[str, object]]) -> None:
    assert found[0]["middleware"] == [
        "cachelayers.middleware.unit_of_work_middleware",
        "django.middleware.common.CommonMiddleware",
    ]
    assert found[0]["connection"] == [
        "connection.close",
        "connection.commit",
        "connection.rollback",
    ]
    assert found[0]["wrappers"] == ["cachelayers.invalidation.execute_wrapper"]


def test_nothing_else_of_django_is_changed_for_a_project_that_uses_neither_fragments_nor_admin(
    found: list[dict[str, object]],
) -> None:
    assert found[0]["changed"] == ["BaseCommand.execute"]
    assert found[0]["engine"] == []


def test_nothing_is_left_after_it_was_removed(found: list[object]) -> None:
    assert found[1] == []
