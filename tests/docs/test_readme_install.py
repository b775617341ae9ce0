"""README's own lines install the app in a project that `django-admin startproject` has made."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections
from pytest_django.plugin import DjangoDbBlocker

from cachelayers import implied_layers
from tests.docs.test_recall_pages import blocks_of
from tests.environment import PROJECT, server_port
from tests.settings import DATABASES

README = (PROJECT / "README.md").read_text(encoding="utf-8")
SCHEMA = "readme_install"
# What a user does next, in one process: `migrate`, `check`, and the cache.
USE = """
import json, os, sys
sys.path.insert(0, ".")
os.environ["DJANGO_SETTINGS_MODULE"] = "website.settings"
import django
django.setup()
from django.core.cache import cache
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("check", databases=["default"], fail_level="WARNING")
from django.contrib.auth.models import Group
from cachelayers import cached, unit_of_work

@cached(timeout=60)
def names():
    return [group.name for group in Group.objects.all()]

def look():
    with unit_of_work():
        return names()

found = [look(), Group.objects.create(name="one").name, look()]
cache.set("key", 1)
layers = cache.describe_layers()
print(json.dumps([found, cache.incr("key"), type(cache.flows.bus).__name__, layers]))
"""


def locations() -> list[str]:
    """Return the expressions in README's table of locations."""
    table = README.partition("| your site | `LOCATION` |")[2].partition("\n\n")[0]
    return re.findall(r"^\| (?!---).*? \| `(.*?)`:", table, re.MULTILINE)


def install(folder: Path, location: str, *lines: str) -> list[Any]:
    """Type README's settings, with a location of its table, and run USE."""
    call_command("startproject", "website", folder)
    settings = blocks_of("../README.md")[0].replace("...", "*INSTALLED_APPS")
    typed = [settings.replace('BASE_DIR / "cache.sqlite3"', location), *lines]
    with (folder / "website" / "settings.py").open("a") as file:
        file.write("\n".join(typed))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", USE],
        cwd=folder,
        env={"PATH": "", "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_install_is_two_settings() -> None:
    settings = re.findall(r"^(\w+) = ", blocks_of("../README.md")[0], re.MULTILINE)

    assert settings == ["INSTALLED_APPS", "CACHES"]


def test_with_a_file(tmp_path: Path) -> None:
    found, number, bus, layers = install(tmp_path, locations()[0])

    assert found == [[], "one", ["one"]]
    assert (number, bus) == (2, "FileBus")
    assert [layer["alias"] for layer in layers] == ["memory", str(tmp_path / "cache.sqlite3")]


@pytest.mark.postgres
def test_with_the_site_s_postgresql(
    tmp_path: Path, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> None:
    site = {**DATABASES["postgres"], "OPTIONS": {"options": f"-c search_path={SCHEMA}"}}
    databases = {"default": site}
    with django_db_blocker.unblock(), connections["postgres"].cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA {SCHEMA}")
        try:
            found, number, bus, layers = install(
                tmp_path, locations()[1], f"DATABASES = {databases}"
            )
        finally:
            cursor.execute(f"DROP SCHEMA {SCHEMA} CASCADE")

    assert found == [[], "one", ["one"]]
    assert (number, bus) == (2, "LogBus")
    assert [layer["alias"] for layer in layers] == ["memory", "database default"]


@pytest.mark.redis
def test_with_a_redis_above_a_table(tmp_path: Path) -> None:
    location = locations()[2].replace("6379/1", f"{server_port('redis')}/9")
    # README means a database on a server: on SQLite, a check warns of a file for both.
    silenced = 'SILENCED_SYSTEM_CHECKS = ["cachelayers.W001"]'

    found, number, bus, layers = install(tmp_path, location, silenced)

    assert found == [[], "one", ["one"]]
    assert (number, bus) == (2, "StreamBus")
    assert [layer["alias"] for layer in layers][1:] == [eval(location)[0], "database default"]
    assert all(layer["error"] is None for layer in layers)


def test_the_limits_are_those_that_readme_names() -> None:
    assert implied_layers.TABLE_BYTES == 256 * 2**20
    assert "256 MiB by default" in README
