"""The page on what cachelayers changes names all that it does change."""

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
import json, sys
import django
from django.conf import settings
from django.core.management.base import BaseCommand
from django.template.engine import Engine

execute, find_template = BaseCommand.execute, Engine.find_template
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "cachelayers"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}},
    CACHES={"default": {"BACKEND": "cachelayers.backends.DatabaseCache", "LOCATION": "default"}},
    CACHELAYERS={"TRACK": ["auth"]},
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
)

django.setup()
from django.core.management import call_command
from django.db import connection, connections
from django.utils.translation import trans_real
active = trans_real._active
call_command("migrate", verbosity=0)
with connection.cursor() as cursor:
    cursor.execute("SELECT type, name FROM sqlite_master WHERE name LIKE 'cachelayers%'")
    made = cursor.fetchall()
own = vars(connections["default"])
print(json.dumps({
    "tables": [name for kind, name in made if kind == "table"],
    "triggers": [name for kind, name in made if kind == "trigger"],
    "middleware": list(settings.MIDDLEWARE),
    "command": BaseCommand.execute is not execute,
    "engine": Engine.find_template is not find_template,
    "language": trans_real._active is not active,
    "wrapped": [name for name in ("commit", "rollback", "close") if name in own],
    "fragments": any(name.startswith("cachelayers.fragments") for name in sys.modules),
}))
call_command("migrate", "cachelayers", "zero", verbosity=0)
with connection.cursor() as cursor:
    cursor.execute("SELECT name FROM sqlite_master WHERE name LIKE 'cachelayers%'")
    print(json.dumps(cursor.fetchall()))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """Return what a fresh site has after `migrate`, and what is left of it after its undoing."""
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
    assert found[0]["command"]
    assert found[0]["wrapped"] == ["commit", "rollback", "close"]


def test_what_fragments_need_is_not_wrapped_without_them(found: list[dict[str, object]]) -> None:
    assert not found[0]["engine"]
    assert not found[0]["language"]
    assert not found[0]["fragments"]


def test_nothing_is_left_after_it_was_removed(found: list[object]) -> None:
    assert found[1] == []
