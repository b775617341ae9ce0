"""Start the servers of a run and make its databases; say which server cannot be had, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import django

from benchmarks.environment import SIZES, publish
from tests.servers import MariaDB, Postgres, find_missing

SERVERS: dict[str, Callable[..., Postgres | MariaDB]] = {"postgres": Postgres, "mariadb": MariaDB}


@contextmanager
def running(databases: Iterable[str]) -> Iterator[dict[str, str]]:
    """Start what ``databases`` need and set Django up; yield the reasons for what is missing.

    The servers keep their own settings for writing to disk, as in production.
    """
    wanted = [name for name in databases if name in SERVERS]
    absent = find_missing()
    missing = {name: absent[name] for name in wanted if name in absent}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="cachelayers-bench-")))
        ports = {}
        for name in wanted:
            if name not in missing:
                server = stack.enter_context(SERVERS[name](durable=True))
                for size in SIZES:
                    server.create_database(f"bench{size}")
                ports[name] = server.port
        publish(folder, ports)
        django.setup()
        stack.callback(close_connections)
        yield missing


def close_connections() -> None:
    """A server waits for its clients when it stops."""
    from django.core.cache import close_caches
    from django.db import connections

    close_caches()
    connections.close_all()
