"""The conditions of a run: the machine, the versions, the time."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from django.db import connections

from benchmarks.environment import published_ports
from tests.servers import ask_port

PACKAGES = (
    *("Django", "diskcache", "django-mysql", "psycopg", "mysqlclient"),
    *("django-redis", "redis", "hiredis", "pymemcache", "cashews"),
)
# The command, and the word before the version in its output.
QUESTIONS = {
    "redis": (b"INFO server\r\n", "redis_version:"),
    "memcached": (b"version\r\n", "VERSION "),
}


def collect_facts() -> dict[str, str]:
    """Return names and values for readers; needs Django to be set up."""
    return {
        "measured at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": find_commit(),
        "cores": str(os.cpu_count()),
        "processor": find_processor(),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        **{name: describe_database(name) for name in ("postgres", "mariadb")},
        **{f"{name} server": describe_server(name) for name in QUESTIONS},
        **{name: describe_package(name) for name in PACKAGES},
    }


def find_commit() -> str:
    """Return the measured commit, with "-dirty" if files differ from it."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    command = [git, "describe", "--always", "--dirty"]
    result = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return result.stdout.strip() or "unknown"


def find_processor() -> str:
    """Return the processor's name: on Linux from the system, elsewhere from the platform module."""
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe_server(name: str) -> str:
    port = published_ports().get(name)
    if port is None:
        return "not running"
    question, before = QUESTIONS[name]
    return ask_port(port, question).decode().partition(before)[2].partition("\r\n")[0]


def describe_database(name: str) -> str:
    if name not in connections:
        return "not running"
    with connections[name].cursor() as cursor:
        cursor.execute("SELECT version()")
        return str(cursor.fetchall()[0][0])


def describe_package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
