"""Servers of databases."""

from __future__ import annotations

import signal
import subprocess
from abc import abstractmethod
from pathlib import Path
from typing import Any

from tests.servers.ports import HOST, ask_port
from tests.servers.programs import explain_missing_module
from tests.servers.server import Server


class DatabaseServer(Server):
    """A server that can stand in Django's DATABASES."""

    @abstractmethod
    def create_database(self, name: str) -> None:
        """Create the database `name` where it does not exist yet."""

    @abstractmethod
    def database_settings(self, name: str) -> dict[str, Any]:
        """Return what DATABASES wants for the database `name` on this server."""


class Postgres(DatabaseServer):
    name = "postgres"
    program = "postgres"
    package = "postgresql"
    accounts = ("postgres",)
    stop_signal = signal.SIGINT  # the "fast" stop: does not wait for clients to leave

    @classmethod
    def program_folders(cls) -> list[str]:
        folders = Path("/usr/lib/postgresql").glob("*/bin")
        return [str(path) for path in sorted(folders, key=major_version, reverse=True)]

    @classmethod
    def explain_absence(cls) -> str | None:
        return super().explain_absence() or explain_missing_module("psycopg", ".[postgres]")

    def prepare(self) -> None:
        self.run_tool(
            self.program_path("initdb"),
            f"--pgdata={self.data}",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "--no-instructions",
        )

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
        }
        if not self.durable:
            # Not synchronous_commit: a killed server would lose what it has confirmed.
            settings |= {"fsync": "off", "full_page_writes": "off"}
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [self.program_path(), "-D", str(self.data), *options]

    def answers(self) -> bool:
        return not subprocess.call(
            [self.program_path("pg_isready"), "-q", "-h", HOST, "-p", str(self.port)]
        )

    def create_database(self, name: str) -> None:
        client = [self.program_path("psql"), "-qAtX", "-h", HOST, "-p", str(self.port)]
        client += ["-U", "postgres", "-d", "postgres", "-c"]
        if not self.run_tool(*client, f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):
            self.run_tool(*client, f'CREATE DATABASE "{name}"')

    def database_settings(self, name: str = "postgres") -> dict[str, Any]:
        return postgres_settings(self.port, name)


class MariaDB(DatabaseServer):
    name = "mariadb"
    program = "mariadbd"
    package = "mariadb-server"
    accounts = ("mysql",)

    @classmethod
    def explain_absence(cls) -> str | None:
        return super().explain_absence() or explain_missing_module("MySQLdb", ".[mysql]")

    def prepare(self) -> None:
        self.run_tool(
            self.program_path("mariadb-install-db"),
            "--no-defaults",
            f"--datadir={self.data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *self._settings(),
        )

    def command(self) -> list[str]:
        return [
            self.program_path(),
            "--no-defaults",
            f"--datadir={self.data}",
            f"--bind-address={HOST}",
            f"--port={self.port}",
            f"--socket={self.folder / 'socket'}",
            f"--pid-file={self.folder / 'data' / 'pid'}",
            "--max-connections=200",
            # Debian's own; the program's are latin1.
            "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_general_ci",
            *self._settings(),
        ]

    def _settings(self) -> list[str]:
        # Of its own: a server that starts removes temporary tables from there, also those that
        # another one is using.
        temporary = f"--tmpdir={self.folder}"
        if self.durable:
            return [temporary]
        return [
            temporary,
            # Each commit reaches the system, so that a killed server loses none; nothing waits for
            # a disk.
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-doublewrite=0",
            "--innodb-log-file-size=16M",
            "--skip-name-resolve",
        ]

    def answers(self) -> bool:
        # The server speaks first, with its version, and only once it is ready.
        return self.port_says(b"")

    def port_says(self, question: bytes) -> bool:
        return bool(ask_port(self.port, question))

    def create_database(self, name: str) -> None:
        client = [self.program_path("mariadb"), "--no-defaults", f"--host={HOST}", "--user=root"]
        statement = f"CREATE DATABASE IF NOT EXISTS `{name}`"
        self.run_tool(*client, f"--port={self.port}", f"--execute={statement}")

    def database_settings(self, name: str = "mysql") -> dict[str, Any]:
        return mariadb_settings(self.port, name)


def postgres_settings(port: int, name: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": HOST,
        "PORT": port,
        "USER": "postgres",
        "NAME": name,
        "OPTIONS": {"connect_timeout": 5},
    }


def mariadb_settings(port: int, name: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.mysql",
        "HOST": HOST,
        "PORT": port,
        "USER": "root",
        "NAME": name,
        "OPTIONS": {"connect_timeout": 5},
    }


def major_version(folder: Path) -> int:
    version = folder.parent.name
    return int(version) if version.isdigit() else 0
