"""The site's own settings, as `manage.py` and gunicorn use them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from testproject.secret_key import read_or_create_secret_key

PROJECT = Path(__file__).resolve().parents[2]


def run_in(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "testproject.settings",
        "TESTPROJECT_DATA": str(folder),
    }
    return subprocess.run(
        [sys.executable, *command],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_fresh_folder_becomes_a_site_with_a_cache_file_of_its_own(tmp_path: Path) -> None:
    code = """
from django.core.management import call_command
import django
django.setup()
call_command("check", fail_level="WARNING")
call_command("migrate", verbosity=0)
call_command("migrate", database="cache", verbosity=0)
call_command("collectstatic", interactive=False, verbosity=0)
from django.test import Client
response = Client(SERVER_NAME="127.0.0.1").get("/")
print(response.status_code, response.headers["Content-Security-Policy"])
"""

    done = run_in(tmp_path, "-c", code)

    assert done.returncode == 0, done.stderr
    assert "200 default-src 'self'" in done.stdout
    assert {"site.sqlite3", "cache.sqlite3", "secret_key", "static"} <= {
        path.name for path in tmp_path.iterdir()
    }


def test_debug_is_off_unless_asked_for(tmp_path: Path) -> None:
    code = "from testproject import settings; print(settings.DEBUG)"

    assert run_in(tmp_path, "-c", code).stdout == "False\n"


def test_workers_that_start_together_agree_on_one_secret_key(tmp_path: Path) -> None:
    path = tmp_path / "secret_key"

    with ThreadPoolExecutor(8) as threads:
        keys = set(threads.map(read_or_create_secret_key, [path] * 8))

    assert len(keys) == 1
    assert len(keys.pop()) >= 50
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("command", ["load_airports", "load_pages", "create_demo_user"])
def test_every_command_explains_itself(tmp_path: Path, command: str) -> None:
    done = run_in(tmp_path, "manage.py", command, "--help")

    assert done.returncode == 0, done.stderr
    assert command in done.stdout
