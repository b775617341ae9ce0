"""Every fault of the log: all values are computed after one wait, and no older value is served."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django import template
from django.conf import settings
from django.db import connections
from django.template import Context, Engine
from django.test import override_settings

from cachelayers import cached, recall, unit_of_work
from cachelayers.invalidation.log import write_tags
from cachelayers.invalidation.tags import user_tag
from tests import environment
from tests.faults.conftest import OpenCache
from tests.faults.harness import Proxy
from tests.servers import mariadb_settings, postgres_settings
from tests.settings import layered_cache, memory_cache

LOG_SECONDS = 0.3
LATE_COMMIT_SECONDS = 0.3  # of MariaDB: nothing is stored for that long after a change
VISITS = 4  # during a fault, each in a unit of work of its own
# psycopg's shortest limit for connecting; then the limit, its grace, and a busy machine.
LONGEST_SECONDS = 2.0 + 2 * (LOG_SECONDS + 0.25) + 2.0
WORD = "fault"

register = template.Library()


class Source:
    """The row behind the values; its changes are logged."""

    value = "old"


source = Source()


@register.simple_tag
def current() -> str:
    return source.value


@cached(tags=[WORD], timeout=None, using="faulty-stack")
def cached_value() -> str:
    return source.value


def recalled_value() -> str:
    return recall("value", lambda: source.value, tags=[WORD], timeout=None, using="faulty-stack")


TEMPLATE = (
    f'{{% fragment "value" tags="{WORD}" timeout=None using="faulty-stack" %}}{{% current %}}'
    "{% endfragment %}"
)
ENGINE = Engine(builtins=["cachelayers.templatetags.cachelayers", __name__])


def fragment() -> str:
    return ENGINE.from_string(TEMPLATE).render(Context())


READERS: dict[str, Callable[[], str]] = {
    "recall": recalled_value,
    "@cached": cached_value,
    "{% fragment %}": fragment,
}


def visit() -> dict[str, object]:
    """Read everything in a unit of its own; an error counts as an answer."""
    found: dict[str, object] = {}
    with unit_of_work():
        for name, read in READERS.items():
            try:
                found[name] = read()
            except Exception as error:  # noqa: BLE001 - what should not have been
                found[name] = error
    return found


def find_breaches(proxy: Proxy, mode: str, operator: str) -> list[str]:
    """Change the row while the log is unreachable; return the broken guarantees."""
    await_hits()
    with proxy.trouble(mode):
        source.value = "new"
        write_tags(connections[operator], [user_tag(WORD)])
        began = time.monotonic()
        visits = [visit() for _ in range(VISITS)]
        took = time.monotonic() - began
    visits += [visit() for _ in range(VISITS)]
    expected = dict.fromkeys(READERS, "new")
    breaches = [f"{mode}: {found}" for found in visits if found != expected]
    if took > LONGEST_SECONDS:
        breaches.append(f"{mode}: the visits together took {took:.2f} s")
    return breaches


def await_hits() -> None:
    """Wait until everything is a hit: a slow log is paused."""
    deadline = time.monotonic() + 20
    for number in itertools.count():
        source.value = f"old {number}"
        visit()
        source.value = f"old {number}, computed again"
        if source.value not in visit().values():
            return
        assert time.monotonic() < deadline, "nothing is kept"
        time.sleep(0.05)


@contextmanager
def stack_beside_it(alias: str) -> Iterator[None]:
    """Set up layers that no server can take away, with the log as bus."""
    names = [f"{alias}-memory", f"{alias}-files"]
    files = {**settings.CACHES["files"], "KEY_PREFIX": alias}
    stack = layered_cache(*names, bus="log")
    new = dict(zip([*names, "faulty-stack"], [memory_cache(), files, stack], strict=True))
    with override_settings(
        CACHES={**settings.CACHES, **new},
        CACHELAYERS={
            **settings.CACHELAYERS,
            "LOG_SECONDS": LOG_SECONDS,
            "LATE_COMMIT_SECONDS": LATE_COMMIT_SECONDS,
        },
    ):
        yield


@pytest.mark.parametrize(
    ("server", "settings_of"),
    [
        pytest.param("postgres", postgres_settings, marks=pytest.mark.postgres),
        pytest.param("mariadb", mariadb_settings, marks=pytest.mark.mariadb),
    ],
)
def test_a_log_on_a_server(
    server: str,
    settings_of: Callable[[int, str], dict[str, Any]],
    open_cache: OpenCache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = environment.server_port(server)
    assert port is not None
    proxy = Proxy(port)
    breaches = []
    for mode in Proxy.MODES:
        alias = f"{mode}-{server}-log"
        open_cache(alias, settings_of(proxy.port, environment.database_name()), migrate=False)
        for module in ("lookup.policy", "lookup.calls", "backends.layered.bus"):
            monkeypatch.setattr(f"cachelayers.{module}.log_database", lambda found=alias: found)
        with stack_beside_it(alias):
            breaches += find_breaches(proxy, mode, server)
    connections.close_all()
    proxy.close()
    assert breaches == []
