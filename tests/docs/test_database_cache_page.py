"""The running example of the page on DatabaseCache does what the page shows."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches
from django.core.management import call_command
from django.db import connections
from pytest_django import Settings
from pytest_django.plugin import DjangoDbBlocker

from cachelayers.backends import DatabaseCache
from tests.environment import PROJECT

PAGE = (PROJECT / "docs" / "database_cache.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_running_example_runs_as_shown(
    tmp_path: Path,
    settings: Settings,
    django_db_blocker: DjangoDbBlocker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: dict[str, Any] = {}
    exec(BLOCKS[0], shown)
    with django_db_blocker.unblock():
        add_database(monkeypatch, shown["DATABASES"]["cache"], tmp_path)
        settings.DATABASE_ROUTERS = shown["DATABASE_ROUTERS"]
        settings.CACHES = shown["CACHES"]
        call_command("migrate", database="cache", verbosity=0)

        for block in BLOCKS[1:]:
            exec(block, shown)

        tables = connections["cache"].introspection.table_names()
        connections["cache"].close()
    statistics = ["cachelayers_statistics", "cachelayers_timing"]
    assert sorted(tables) == ["cachelayers_entry", *statistics, "django_migrations"]
    assert isinstance(caches["default"], DatabaseCache)


def add_database(monkeypatch: pytest.MonkeyPatch, shown: dict[str, Any], folder: Path) -> None:
    """Add the page's second database to those of the tests, in a folder of the test."""
    configured = {**shown, "NAME": str(folder / shown["NAME"])}
    monkeypatch.setitem(connections.databases, "cache", configured)
    connections.configure_settings(connections.databases)
