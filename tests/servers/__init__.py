"""Start real servers on free loopback ports, and stop, kill or pause them. Imports no pytest.

with Postgres() as server:
    settings.DATABASES["postgres"] = server.database_settings()
"""

from __future__ import annotations

from tests.servers.browser import Browser
from tests.servers.databases import (
    DatabaseServer,
    MariaDB,
    Postgres,
    mariadb_settings,
    postgres_settings,
)
from tests.servers.ports import HOST, ask_port, find_free_port, is_taken, page_is_there
from tests.servers.programs import reachable_folder
from tests.servers.server import KEEPER, Server, ServerError
from tests.servers.stores import Memcached, Redis

__all__ = [
    "HOST",
    "KEEPER",
    "SERVERS",
    "Browser",
    "DatabaseServer",
    "MariaDB",
    "Memcached",
    "Postgres",
    "Redis",
    "Server",
    "ServerError",
    "ask_port",
    "find_free_port",
    "find_missing",
    "is_taken",
    "mariadb_settings",
    "page_is_there",
    "postgres_settings",
    "reachable_folder",
]

SERVERS: dict[str, type[Server]] = {
    server.name: server for server in (Postgres, MariaDB, Redis, Memcached, Browser)
}


def find_missing() -> dict[str, str]:
    """Return the servers that cannot be started here, by name, with the reason."""
    absences = {name: server.explain_absence() for name, server in SERVERS.items()}
    return {name: reason for name, reason in absences.items() if reason is not None}
