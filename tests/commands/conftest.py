"""Fixtures of the command tests: the small site, an empty registry, a real terminal."""

from collections.abc import Iterator
from io import StringIO
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from django.core.cache import BaseCache, caches
from django.core.management import CommandError, call_command
from pytest_django import DjangoDbBlocker, Settings

from cachelayers.models import WarmerRun
from cachelayers.warming import registered_warmers, registry
from tests.commands.runs import OpenTerminal, Run, RunCommand, Terminal
from tests.commands.small_site.records import Records, records
from tests.conftest import empty_cache

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"


@pytest.fixture
def memory_caches(settings: Settings) -> None:
    """Fast CACHES of this process only."""
    settings.CACHES = {
        alias: {"BACKEND": LOCMEM, "LOCATION": f"{alias} {uuid4()}"}
        for alias in ("default", "other")
    }


@pytest.fixture
def small_site(settings: Settings, memory_caches: None, db: None) -> Iterator[Records]:
    """The small site instead of the demo; returns its records."""
    settings.ROOT_URLCONF = "tests.commands.small_site.urls"
    settings.MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
    settings.ALLOWED_HOSTS = ["www.example.com", "testserver"]
    records.requests.clear()
    records.files.clear()
    records.hanging = Event()
    yield records
    records.hanging.set()


@pytest.fixture
def no_warmers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty registry, without the warmers of the installed apps."""
    # First: a module imported later would register in the test's registry only.
    registered_warmers()
    monkeypatch.setattr(registry, "_warmers", {})


@pytest.fixture
def own_caches(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[BaseCache]:
    """The alias "default" of the tests' settings, an empty DatabaseCache in a SQLite file."""
    with django_db_blocker.unblock():
        yield empty_cache("default")
        caches["default"].close()
        # Other processes have committed the records of their runs.
        WarmerRun.objects.all().delete()


@pytest.fixture
def run() -> RunCommand:
    """A function that calls a command and returns its output and how it ended."""

    def run_command(*arguments: str, **options: Any) -> Run:
        out, err = StringIO(), StringIO()
        error: CommandError | None = None
        try:
            call_command(*arguments, stdout=out, stderr=err, no_color=True, **options)
        except CommandError as raised:
            error = raised
        return Run(out=out.getvalue(), err=err.getvalue(), error=error)

    return run_command


@pytest.fixture
def open_terminal(own_caches: BaseCache) -> Iterator[OpenTerminal]:
    """A function that runs a command on its own terminal; ended with the test."""
    terminals: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        terminals.append(Terminal(*arguments))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.close()
