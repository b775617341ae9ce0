"""Start the servers of a run and make its databases; give the reason for each missing server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import django

from benchmarks.environment import MEMCACHEDS, SIZES, publish
from tests.servers import DatabaseServer, MariaDB, Memcached, Postgres, Redis, Server, find_missing

MEMCACHED_MEGABYTES = 1024  # as much as the other stores may use; 64 would not hold 10,000 pages


class CacheRedis(Redis):
    """A Redis that only caches: it writes nothing to disk."""

    def command(self) -> list[str]:
        """Return the command of the server; the last of equal options counts."""
        return [*super().command(), "--appendonly", "no"]


class RoomyMemcached(Memcached):
    """A memcached that evicts no entry of the run."""

    def command(self) -> list[str]:
        """Return the command of the server; the last of equal options counts."""
        return [*super().command(), "-m", str(MEMCACHED_MEGABYTES)]


# By store: the servers that its peers need, by the names of their ports.
SERVERS: Mapping[str, Mapping[str, Callable[..., Server]]] = {
    "postgres": {"postgres": Postgres},
    "mariadb": {"mariadb": MariaDB},
    "redis": {"redis": CacheRedis},
    "memcached": dict.fromkeys(MEMCACHEDS, RoomyMemcached),
}


@contextmanager
def running(stores: Iterable[str]) -> Iterator[dict[str, str]]:
    """Start the servers for ``stores`` and set Django up; yield the reasons for missing ones.

    The databases keep their own settings for writing to disk, as in production.
    """
    absent = find_missing()
    wanted = [store for store in stores if store in SERVERS]
    missing = {store: absent[store] for store in wanted if store in absent}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="cachelayers-bench-")))
        ports = {}
        for store in wanted:
            if store not in missing:
                for name, make_server in SERVERS[store].items():
                    server = stack.enter_context(make_server(durable=True))
                    create_databases(server)
                    ports[name] = server.port
        publish(folder, ports)
        django.setup()
        stack.callback(close_connections)
        yield missing


def create_databases(server: Server) -> None:
    if isinstance(server, DatabaseServer):
        for size in SIZES:
            server.create_database(f"bench{size}")


def close_connections() -> None:
    """Close all connections: a server waits for its clients when it stops."""
    from django.core.cache import close_caches
    from django.db import connections

    close_caches()
    connections.close_all()
