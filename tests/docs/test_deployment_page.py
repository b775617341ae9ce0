"""The running example of the page on deployment does what the page shows, on real servers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import environment
from tests.docs.test_recall_pages import blocks_of
from tests.environment import PROJECT
from tests.servers import HOST, DatabaseServer

SETTINGS, FUNCTION, USE = blocks_of("deployment.md")
MORE_SETTINGS = """
INSTALLED_APPS = ["cachelayers", "tests.library"]
USE_TZ = True
SECRET_KEY = "the page's own secret key, long enough for every check of Django's"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
MODULE = "import django\ndjango.setup()\nfrom tests.library.models import Author, Book\n"
FILL = """
from django.core.management import call_command
call_command("flush", interactive=False, verbosity=0)
Book.objects.create(title="Ports", author=Author.objects.create(name="Ann"))
"""
FIND = """
from django.db import connection
from django.test.utils import CaptureQueriesContext
from cachelayers import unit_of_work

with CaptureQueriesContext(connection) as queries, unit_of_work():
    assert titles_by("Ann") == ["Harbours"]
print([query["sql"] for query in queries if 'FROM "library_book"' in query["sql"]])
"""
IN_MEMORY = """
from cachelayers.utils.counters import figures_of_process
with unit_of_work():
    titles_by("Ann")
print(*((layer, found.hits) for (_, layer), found in figures_of_process().items() if layer))
"""
BEGIN = "from shelves import *\n"

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, redis_url: str) -> Run:
    """Run Python on a site with the page's settings, in its own process."""
    (tmp_path / "page_settings.py").write_text(SETTINGS + MORE_SETTINGS, encoding="utf-8")
    (tmp_path / "shelves.py").write_text(MODULE + FUNCTION, encoding="utf-8")
    name = f"{environment.database_name()}_deployed"
    server = environment.start_shared_server("postgres")
    assert isinstance(server, DatabaseServer)
    server.create_database(name)
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(PROJECT)]),
        "DJANGO_SETTINGS_MODULE": "page_settings",
        "PGHOST": HOST,
        "PGPORT": str(server.port),
        "PGDATABASE": name,
        "PGUSER": "postgres",
        "REDIS_URL": f"{redis_url}/{environment.worker_number()}",
        "COMMIT": "0123abc",
    }

    def run_python(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        return subprocess.check_output(command, cwd=tmp_path, env=environ, text=True, timeout=90)

    return run_python


@pytest.mark.postgres
@pytest.mark.redis
def test_the_running_example_runs_as_shown(run: Run) -> None:
    run("-m", "django", "migrate", "--run-syncdb", "--verbosity", "0")
    run("-c", BEGIN + FILL)

    run("-c", BEGIN + USE)

    # Another process finds what the first has computed, and then has it in its memory.
    assert run("-c", BEGIN + FIND + IN_MEMORY).splitlines() == ["[]", "('memory', 1) ('redis', 1)"]


@pytest.mark.postgres
@pytest.mark.redis
def test_the_checks_find_nothing_in_the_example(run: Run) -> None:
    run("-m", "django", "migrate", "--run-syncdb", "--verbosity", "0")
    check = ["-m", "django", "check", "--fail-level", "WARNING"]

    assert "no issues (0 silenced)" in run(*check, "--database", "default")
    assert "no issues (0 silenced)" in run(*check, "--deploy", "--tag", "caches")
