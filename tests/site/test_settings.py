"""The site's own settings, as `manage.py` and gunicorn use them."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from testproject.secret_key import read_or_create_secret_key
from tests.site.conftest import run_in

SHOW_LAYERS = """
import django
django.setup()
from django.conf import settings
from django.core.management import call_command
call_command("check", fail_level="WARNING", verbosity=0)
options = settings.CACHES["default"]["OPTIONS"]
print(*options["LAYERS"], "bus", options["BUS"])
"""


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


def test_the_cache_is_memory_over_a_table_and_needs_no_server(tmp_path: Path) -> None:
    done = run_in(tmp_path, "-c", SHOW_LAYERS)

    assert done.stdout.splitlines()[-1:] == ["memory database bus log"], done.stderr


@pytest.mark.redis
def test_a_redis_that_is_named_comes_between_the_two_and_is_the_bus(
    tmp_path: Path, redis_url: str
) -> None:
    done = run_in(tmp_path, "-c", SHOW_LAYERS, redis_url=redis_url)

    assert done.stdout.splitlines()[-1:] == ["memory redis database bus redis"], done.stderr


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
