"""The running example of the page on prune_cache does what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.environment import PROJECT

PAGE = (PROJECT / "docs" / "prune_cache.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SETTINGS, USE = (code for kind, code in BLOCK.findall(PAGE) if kind == "python")
[CONSOLE] = [text for kind, text in BLOCK.findall(PAGE) if kind == "console"]
PREPARE = """
import django
django.setup()
from django.core.management import call_command
for database in ("default", "cache"):
    call_command("migrate", database=database, run_syncdb=True, verbosity=0)
call_command("prune_cache", verbosity=0)  # migrations have left rows too
from tests.library.models import Author
"""
REPLICA = """
from page_settings import *
DATABASES["copy"] = {**DATABASES["default"], "TEST": {"MIRROR": "default"}}
"""

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run Python on a site with the page's settings, in its own folder."""
    more = (
        'INSTALLED_APPS = ["cachelayers", "tests.library"]\nUSE_TZ = True\nSECRET_KEY = "s" * 50\n'
    )
    more += 'DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"\n'
    (tmp_path / "page_settings.py").write_text(SETTINGS + more, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), str(PROJECT)])
    environ = {**os.environ, "PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "page_settings"}

    (tmp_path / "replica_settings.py").write_text(REPLICA, encoding="utf-8")

    def run_python(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        return subprocess.check_output(command, cwd=tmp_path, env=environ, text=True, timeout=60)

    return run_python


def test_the_running_example_runs_as_shown(run: Run) -> None:
    command, _, shown = CONSOLE.partition("\n")
    assert command == "$ python manage.py prune_cache"
    assert run("-c", PREPARE + USE) == ""  # it prints nothing with this verbosity

    assert run("-m", "django", "prune_cache") == shown


def test_what_the_settings_call_a_replica_is_left_alone(run: Run) -> None:
    run("-c", PREPARE)

    told = run("-m", "django", "prune_cache", "--settings", "replica_settings")

    assert "default: 0 redundant" in told  # removed rows are not removed again
    assert "copy" not in told
