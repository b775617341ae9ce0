"""Databases for the projects: a folder for SQLite, and this run's own servers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests import environment
from tests.servers import SERVERS, DatabaseServer
from world.project import Project

environment.decide_once()

MakeProject = Callable[[str], Project]


def pytest_configure(config: pytest.Config) -> None:
    if environment.is_owner():
        environment.make_run_folder()
    environment.worker_folder().mkdir(exist_ok=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    if environment.is_owner():
        environment.end_run()


@pytest.fixture
def make_project(tmp_path: Path, request: pytest.FixtureRequest) -> MakeProject:
    """Return a function that creates a project on "sqlite", "postgres" or "mariadb"."""
    made: list[Project] = []

    def make(database: str) -> Project:
        project = Project(tmp_path / f"project{len(made)}")
        made.append(project)
        install(project, database, name_for(request.node.name, len(made)))
        return project

    return make


def name_for(test: str, number: int) -> str:
    """Return a database name for the test, within PostgreSQL's 63 bytes including "test_"."""
    plain = re.sub(r"\W+", "_", test.lower())
    return f"{plain[-40:]}_{number}".strip("_")


def install(project: Project, database: str, name: str) -> None:
    """Install cachelayers like README, on the database."""
    own: dict[str, Any] = {"TRACK": ["*"]}
    if database == "mariadb":
        own["LATE_COMMIT_SECONDS"] = 0.001  # no test leaves a transaction open during another one
    project.add_settings('INSTALLED_APPS += ["cachelayers"]', CACHELAYERS=own)
    if database == "sqlite":
        project.add_settings(
            'DATABASES["cache"] = {"ENGINE": "django.db.backends.sqlite3",'
            ' "NAME": BASE_DIR / "cache.sqlite3"}',
            DATABASE_ROUTERS=["cachelayers.routers.CacheRouter"],
        )
    else:
        project.add_settings(DATABASES={"default": server_database(database, name)})
    table = "cache" if database == "sqlite" else "default"
    project.add_settings(f"CACHES = {json.dumps(caches_on(table))}")


def require_server(name: str) -> None:
    """Skip the test, or fail, if a server is missing, like the rest of the suite."""
    if environment.server_port(name) is None:
        refuse(f"{name} is missing: {SERVERS[name].explain_absence()}")


def refuse(reason: str) -> NoReturn:
    if environment.servers_are_required():
        pytest.fail(reason)
    pytest.skip(reason)


def server_database(server_name: str, name: str) -> dict[str, Any]:
    """Create a database on the run's server and return its settings."""
    require_server(server_name)
    server = environment.start_shared_server(server_name)
    assert isinstance(server, DatabaseServer)
    server.create_database(name)
    return server.database_settings(name)


def caches_on(table: str) -> dict[str, Any]:
    """Return README's caches, with the table in the database of an alias."""
    return {
        "default": {
            "BACKEND": "cachelayers.backends.LayeredCache",
            "OPTIONS": {"LAYERS": ["memory", "database"], "BUS": "log"},
        },
        "memory": {"BACKEND": "cachelayers.backends.MemoryCache"},
        "database": {
            "BACKEND": "cachelayers.backends.DatabaseCache",
            "LOCATION": table,
            "OPTIONS": {"MAX_BYTES": 256 * 2**20},
        },
    }
