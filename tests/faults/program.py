"""The programs that fault tests run beside themselves: they hold locks, and use a broken file.

``python -m tests.faults.program NAME ARGUMENT ...`` prints "ready" and waits for a line.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sqlite3
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

PROGRAM = "tests.faults.program"

complaints: list[str] = []


class Complaints(logging.Handler):
    """Collects the cache's log records."""

    def emit(self, record: logging.LogRecord) -> None:
        complaints.append(record.getMessage())


def main() -> None:
    name, *arguments = sys.argv[1:]
    answer = PROGRAMS[name](*arguments)
    say(json.dumps(answer))


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def wait_for_go() -> None:
    say("ready")
    sys.stdin.readline()


def open_cache(path: str, alias: str = "broken") -> Any:
    """Return a cache on the SQLite file at ``path``; alias "default": the site's own file."""
    import django
    from django.conf import settings

    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": path}
    settings.DATABASES[alias] = database
    settings.CACHES["broken"] = {
        "BACKEND": "cachelayers.backends.DatabaseCache",
        "LOCATION": alias,
        "OPTIONS": {"BUSY_SECONDS": 0.5},
    }
    django.setup()
    logging.getLogger("cachelayers").addHandler(Complaints(logging.WARNING))
    from django.core.cache import caches

    return caches["broken"]


def hold_lock(path: str, readers_too: str) -> None:
    """Lock the file for writers, or for everyone, until the test sends a line."""
    with sqlite3.connect(path, isolation_level=None, timeout=10) as connection:
        if readers_too == "everyone":
            connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        connection.execute("BEGIN EXCLUSIVE")
        wait_for_go()
        connection.execute("COMMIT")
    connection.close()


def overwrite(path: str, first: str, length: str) -> None:
    """Overwrite a part of the file with noise."""
    with Path(path).open("r+b") as file:
        file.seek(int(first))
        file.write(os.urandom(int(length)))


def use_until_stopped(path: str, name: str) -> list[str]:
    """Set and get until the test sends a line; return the failures other than misses."""
    cache = open_cache(path)
    cache.set(f"{name}-0", 0)
    say("ready")
    os.set_blocking(sys.stdin.fileno(), False)
    wrong: list[str] = []
    number = 0
    while not sys.stdin.read(1):
        number += 1
        cache.set(f"{name}-{number % 50}", [name, number])
        found = cache.get(f"{name}-{number % 50}")
        if found not in (None, [name, number]):
            wrong.append(f"{found!r} instead of {[name, number]!r}")
    return wrong + find_lasting_failure(cache, name)


def find_lasting_failure(cache: Any, name: str) -> list[str]:
    """Return the failure if the cache does not work again by now."""
    cache.set(f"{name}-last", name)
    return (
        [] if cache.get(f"{name}-last") == name else [f"{name} has no working cache: {complaints}"]
    )


def fill_with_a_limit(path: str) -> dict[str, Any]:
    """Write beyond the limit of the file's size."""
    cache = open_cache(path)
    cache.set("page", "older", timeout=None)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = Path(path).stat().st_size + 300_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for number in range(200):
        cache.set(f"fill-{number}", os.urandom(20_000), timeout=None)
    cache.set("page", os.urandom(500_000), timeout=None)
    full = {"page": str(cache.get("page"))[:20], "complaints": len(complaints)}
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    cache.set("after", 1)
    return {**full, "after": cache.get("after")}


def use_read_only_folder(path: str) -> dict[str, Any]:
    """Use the cache as a user who may read its file and folder, but not write them."""
    cache = open_cache(path)
    cache.set("page", "older", timeout=None)
    cache.close()
    Path(path).chmod(0o444)
    Path(path).parent.chmod(0o555)
    if os.geteuid() == 0:
        os.seteuid(65534)  # nobody; root may write everywhere
    with ThreadPoolExecutor(1) as pool:  # another thread has a new connection
        answers = pool.submit(use_read_only).result(30)
    if os.getuid() == 0:
        os.seteuid(0)
    return answers


def use_read_only() -> dict[str, Any]:
    from django.core.cache import caches

    cache = caches["broken"]
    return {
        "add": cache.add("new", 1),
        "set": cache.set("new", 1),  # type: ignore[func-returns-value] # that it does is the test
        "new": cache.get("new"),
        "delete": cache.delete("page"),
    }


def use_site_file(path: str) -> dict[str, Any]:
    """Use a cache in the file of the site's own tables, which is corrupt."""
    cache = open_cache(path, "default")
    cache.set("page", 1)
    return {"page": cache.get("page"), "complaints": complaints}


PROGRAMS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        hold_lock,
        overwrite,
        use_until_stopped,
        fill_with_a_limit,
        use_read_only_folder,
        use_site_file,
    )
}

if __name__ == "__main__":
    main()
