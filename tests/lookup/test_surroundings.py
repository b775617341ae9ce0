"""A value is computed with the language and settings of the call that computed its key."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.cache.backends.base import BaseCache
from django.db import connections, transaction
from django.urls import get_script_prefix, get_urlconf, set_script_prefix, set_urlconf
from django.utils import timezone, translation
from pytest_django.plugin import DjangoDbBlocker

from cachelayers import recall, unit_of_work
from tests.conftest import RunPython, empty_cache

local = threading.local()


@pytest.fixture(autouse=True)
def store(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[BaseCache]:
    with django_db_blocker.unblock():
        yield empty_cache("sqlite")


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    ahead = [0.0]
    real_time = time.time
    monkeypatch.setattr(time, "time", lambda: real_time() + ahead[0])

    def let_pass(seconds: float) -> None:
        ahead[0] += seconds

    return let_pass


def recall_here(key: str, compute: Callable[[], Any]) -> Any:
    return recall(key, compute, using="sqlite", timeout=10, stale=600)


@contextmanager
def of_tenant(name: str) -> Iterator[None]:
    """Work like a project's middleware, which ends before the response is sent."""
    local.tenant = name
    try:
        yield
    finally:
        del local.tenant


@contextmanager
def of_site(prefix: str, urlconf: str) -> Iterator[None]:
    set_script_prefix(prefix)
    set_urlconf(urlconf)
    try:
        yield
    finally:
        set_script_prefix("/")
        set_urlconf(None)


def surroundings() -> tuple[object, ...]:
    return (
        translation.get_language(),
        timezone.get_current_timezone_name(),
        get_script_prefix(),
        get_urlconf(),
        getattr(local, "tenant", "nobody"),
    )


def await_entry(key: str, unwanted: object) -> Any:
    deadline = time.monotonic() + 5
    while (found := recall_here(key, surroundings)) == unwanted and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def test_a_refresh_has_the_surroundings_of_the_call_that_found_it_stale(
    pass_time: Callable[[float], None],
) -> None:
    recall_here("page", lambda: "old")
    pass_time(11)

    with (
        translation.override("de"),
        timezone.override("Asia/Tokyo"),
        of_site("/shop/", "testproject.urls"),
        of_tenant("acme"),
        unit_of_work(),
    ):
        expected = surroundings()
        recall_here("page", surroundings)

    assert (
        await_entry("page", "old")
        == expected
        == ("de", "Asia/Tokyo", "/shop/", "testproject.urls", "acme")
    )


@pytest.mark.postgres
def test_a_refresh_has_the_settings_of_the_caller_s_session(
    pass_time: Callable[[float], None],
) -> None:
    recall_here("tenant", lambda: "old")
    pass_time(11)

    def session() -> tuple[str, str]:
        with connections["postgres"].cursor() as cursor:
            cursor.execute(
                "SELECT coalesce(current_setting('app.tenant', true), 'nobody'),"
                " current_setting('search_path')"
            )
            found: tuple[str, str] = cursor.fetchone()
            return found

    with transaction.atomic("postgres"), connections["postgres"].cursor() as cursor:
        cursor.execute("SET LOCAL app.tenant = 'acme'")
        cursor.execute("SET LOCAL search_path = 'pg_temp', public")
        refreshed = recall_here("tenant", session)

    assert tuple(refreshed) == ("acme", "pg_temp, public")


def test_one_caller_refreshes_and_all_others_are_served_at_once(
    pass_time: Callable[[float], None],
) -> None:
    recall_here("value", lambda: "old")
    pass_time(11)
    is_computing, may_end = threading.Event(), threading.Event()
    refreshed: list[str] = []

    def slowly() -> str:
        is_computing.set()
        assert may_end.wait(20)
        return "new"

    def refresh() -> None:
        refreshed.append(recall_here("value", slowly))
        connections.close_all()

    thread = threading.Thread(target=refresh)
    thread.start()
    assert is_computing.wait(20)
    served = [recall_here("value", slowly) for _ in range(5)]
    may_end.set()
    thread.join()

    assert served == ["old"] * 5
    assert refreshed == ["new"]


def test_a_statement_that_fails_in_a_refresh_is_not_hidden_from_its_transaction(
    pass_time: Callable[[float], None],
) -> None:
    recall_here("value", lambda: "old")
    pass_time(11)

    def fail() -> str:
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT * FROM nowhere")
        return "new"

    with pytest.raises(Exception, match="nowhere"), transaction.atomic():
        recall_here("value", fail)
    assert recall_here("value", fail) == "old"


def test_an_endless_refresh_does_not_keep_the_process_alive(run_python: RunPython) -> None:
    process = run_python(
        "import os, sys, threading, time\n"
        "import django\n"
        "django.setup()\n"
        "from cachelayers import recall\n"
        "def get(compute):\n"
        "    return recall('endless', compute, using='sqlite', timeout=0.05, stale=600)\n"
        "get(lambda: 'old')\n"
        "time.sleep(0.1)\n"
        "threading.Thread(\n"
        "    target=lambda: get(threading.Event().wait), daemon=True\n"
        ").start()\n"
        "while get.__class__ and threading.active_count() < 2: pass\n"
        "time.sleep(0.3)\n"
        "assert get(threading.Event().wait) == 'old'\n"
    )

    assert process.wait(20) == 0, process.stderr.read() if process.stderr else ""


def test_the_package_starts_no_thread_for_a_refresh(
    pass_time: Callable[[float], None],
) -> None:
    recall_here("value", lambda: "old")
    pass_time(11)

    where = recall_here("value", lambda: (os.getpid(), threading.get_ident()))

    assert where == (os.getpid(), threading.get_ident())
