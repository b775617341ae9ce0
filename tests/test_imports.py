"""What the parts of the package import, seen by processes that cannot import the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.environment import PROJECT

ABOVE_THE_CORE = (
    "admin",
    "clearing",
    "dashboard",
    "fragments",
    "management.commands",  # Django itself imports the package around it
    "management.warm_options",
    "staticfiles",
    "statistics",
    "warming",
)
SITE = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(blocked):
            raise ImportError(f"{name} is imported")

blocked = tuple(f"cachelayers.{name}" for name in sys.argv[2:])
sys.meta_path.insert(0, Blocker())

import django
from django.conf import settings
from cachelayers.apps import CacheLayersConfig

class App(CacheLayersConfig):
    def ready(self):
        connect(self)

def file(name):
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{sys.argv[1]}/{name}.sqlite3"}

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "__main__.App"],
    DATABASES={"default": file("default"), "cache": file("cache")},
    DATABASE_ROUTERS=["cachelayers.routers.CacheRouter"],
    CACHES={"default": {"BACKEND": "cachelayers.backends.DatabaseCache", "LOCATION": "cache"}},
    CACHELAYERS={"TRACK": ["auth"]},
)
"""
CORE = """
connect = CacheLayersConfig.connect_core
django.setup()
from django.core.management import call_command
for database in settings.DATABASES:
    call_command("migrate", database=database, verbosity=0)

import cachelayers.backends.layered
from django.contrib.auth.models import Group
from django.core.cache import cache
from cachelayers import cached, invalidate, recall, unit_of_work

cache.set("key", [1])
assert cache.get("key") == [1]

def names():
    calls.append(1)
    return [group.name for group in Group.objects.order_by("name")]

def read(function):
    calls.clear()
    with unit_of_work():
        return function(), len(calls)

def recalled():
    return recall("groups", names, tags=["menu"])

calls, decorated = [], cached(names)
for function in (recalled, decorated):
    name = function.__name__
    assert read(function) == ([], 1)
    assert read(function) == ([], 0)
    Group.objects.create(name=name)
    assert read(function) == ([name], 1)
    assert read(function) == ([name], 0)
    Group.objects.all().delete()
assert read(recalled) == ([], 1)
invalidate("menu")
assert read(recalled) == ([], 1)
"""
TABLE = """
def connect(app): pass
django.setup()
from django.core.management import call_command
call_command("migrate", database="cache", verbosity=0)

from django.core.cache import cache
from django.db import transaction
cache.set("key", [1])
with transaction.atomic("cache"):
    cache.add("number", 1)
    cache.incr("number", 2)
assert cache.get_many(["key", "number"]) == {"key": [1], "number": 3}
"""


def run_without(blocked: tuple[str, ...], program: str, folder: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", SITE + program, str(folder), *blocked],
        check=False,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr


def test_the_core_runs_without_what_is_built_on_it(tmp_path: Path) -> None:
    run_without(ABOVE_THE_CORE, CORE, tmp_path)


def test_a_database_cache_runs_without_invalidation(tmp_path: Path) -> None:
    run_without((*ABOVE_THE_CORE, "invalidation", "lookup", "decorators"), TABLE, tmp_path)


def test_registering_a_warmer_loads_neither_settings_nor_what_runs_it() -> None:
    program = (
        "import sys\n"
        "from cachelayers import warmer\n"
        "from django.conf import settings\n"
        "assert not settings.configured\n"
        "print(*sorted(name for name in sys.modules if name.startswith('cachelayers.warming')))\n"
    )
    loaded = subprocess.check_output(
        [sys.executable, "-W", "error", "-c", program], cwd=PROJECT, text=True, timeout=60
    )

    assert loaded.split() == ["cachelayers.warming", "cachelayers.warming.registry"]
