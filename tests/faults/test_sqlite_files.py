"""An SQLite file that is locked, full, read-only, corrupt, deleted or without its table."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import connections

from cachelayers.backends import DatabaseCache
from cachelayers.exceptions import CacheUnavailable
from tests import environment
from tests.conftest import RunPython
from tests.faults.conftest import (
    BUSY_SECONDS,
    OpenCache,
    Reports,
    await_recovery,
    await_value,
    sqlite_settings,
)
from tests.faults.program import PROGRAM

Process = subprocess.Popen[str]


def await_ready(process: Process) -> None:
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        raise AssertionError(process.communicate(timeout=30)[1])


def finish(process: Process) -> Any:
    """Send a program its line, and return its answer."""
    output, errors = process.communicate("go\n", timeout=60)
    assert process.returncode == 0, errors
    return json.loads(output.splitlines()[-1])


def damage(path: Path, where: str) -> None:
    """Overwrite a part of the file while it is in use."""
    size_bytes = path.stat().st_size
    first, length = {
        "header": (0, 100),
        "first pages": (100, 8192),
        "all but the header": (100, size_bytes - 100),
        "everything": (0, size_bytes),
    }[where]
    # In another process: one that closes a file loses all its locks on it, SQLite's too.
    command = [sys.executable, "-m", PROGRAM, "overwrite", str(path), str(first), str(length)]
    subprocess.run(command, check=True, cwd=environment.PROJECT)


def fill(cache: BaseCache) -> None:
    cache.set_many({f"key-{number}": os.urandom(3000) for number in range(100)}, timeout=None)


def checkpoint(path: Path) -> None:
    """Move the write-ahead log into the file itself."""
    connection = sqlite3.connect(path)
    # Busy writers can make it give up, which only its result shows. Pages left in the log would
    # hide the damage: SQLite reads them from there.
    await_value(lambda: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0], 0)
    connection.close()


# Locked


def test_a_locked_file_makes_writes_do_nothing_within_the_time_limit(
    file_cache: BaseCache, sqlite_path: Path, run_python: RunPython, reports: Reports
) -> None:
    file_cache.set_many({"page": 1, "other": 2})
    holder = run_python(PROGRAM, "hold_lock", sqlite_path, "writers")
    await_ready(holder)

    began = time.monotonic()
    answers = [
        file_cache.set("page", 3),  # type: ignore[func-returns-value] # that it does is the test
        file_cache.add("new", 1),
        file_cache.delete("other"),
        file_cache.touch("other", 10),
        file_cache.set_many({"a": 1, "b": 2}),
    ]
    took_seconds = time.monotonic() - began

    assert answers == [None, False, False, False, ["a", "b"]]
    assert took_seconds < 5 * BUSY_SECONDS + 1
    assert len(reports.texts) == 1
    finish(holder)
    await_recovery(file_cache)


def test_a_file_locked_for_writers_can_still_be_read(
    file_cache: BaseCache, sqlite_path: Path, run_python: RunPython
) -> None:
    file_cache.set("page", 1)
    holder = run_python(PROGRAM, "hold_lock", sqlite_path, "writers")
    await_ready(holder)

    found = file_cache.get("page")

    assert found == 1
    finish(holder)


def test_an_older_value_is_not_served_after_a_write_met_a_lock(
    file_cache: BaseCache, sqlite_path: Path, run_python: RunPython
) -> None:
    file_cache.set_many({"page": "old", "gone": "old"}, timeout=None)
    holder = run_python(PROGRAM, "hold_lock", sqlite_path, "writers")
    await_ready(holder)

    file_cache.set("page", "new")
    file_cache.delete("gone")
    while_locked = file_cache.get_many(["page", "gone"])
    finish(holder)

    assert while_locked == {}
    await_recovery(file_cache)
    assert file_cache.get("page") != "old"
    assert file_cache.get("gone") is None


def test_a_file_locked_for_everyone_is_a_miss_within_the_time_limit(
    file_cache: BaseCache, sqlite_path: Path, run_python: RunPython
) -> None:
    # Before the cache has opened it: in WAL mode nobody can lock out a connection that is open.
    holder = run_python(PROGRAM, "hold_lock", sqlite_path, "everyone")
    await_ready(holder)

    began = time.monotonic()
    found = file_cache.get("page", "missing")
    took_seconds = time.monotonic() - began

    assert found == "missing"
    assert took_seconds < 3 * BUSY_SECONDS + 1
    finish(holder)
    await_recovery(file_cache)


# Full


def test_a_full_database_makes_writes_do_nothing_and_reads_go_on(
    open_cache: OpenCache, sqlite_path: Path, monkeypatch: pytest.MonkeyPatch, reports: Reports
) -> None:
    connect = sqlite3.connect

    def connect_to_a_small_disk(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.execute("PRAGMA max_page_count = 200").fetchall()
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect_to_a_small_disk)
    cache = open_cache("full", sqlite_settings(sqlite_path))
    cache.set("page", "older", timeout=None)

    failed = [
        key
        for number in range(100)
        for key in cache.set_many({f"key-{number}": os.urandom(20_000)}, timeout=None)
    ]

    assert len(failed) > 40
    assert len(reports.texts) == 1
    assert cache.get("page") == "older"
    assert cache.get(failed[-1]) is None
    assert cache.get("key-1") is not None


def test_an_older_value_is_not_served_after_a_write_met_a_full_disk(
    tmp_path: Path, run_python: RunPython, open_cache: OpenCache, sqlite_path: Path
) -> None:
    open_cache("prepared", sqlite_settings(sqlite_path)).close()

    answers = finish(run_python(PROGRAM, "fill_with_a_limit", sqlite_path))

    assert answers["page"] == "None"
    assert answers["complaints"] == 1
    assert answers["after"] == 1


# Read-only


def test_a_read_only_file_makes_writes_do_nothing_and_reads_go_on(
    open_cache: OpenCache, sqlite_path: Path, reports: Reports
) -> None:
    cache = open_cache("writable", sqlite_settings(sqlite_path))
    cache.set_many({"page": 1}, timeout=None)
    connections["writable"].close()
    connections["writable"].settings_dict["NAME"] = f"file:{sqlite_path}?mode=ro"

    found = cache.get("page")
    answers = [
        cache.add("new", 1),
        cache.touch("page", 10),
        cache.delete("page"),
        cache.set_many({"a": 1}),
        cache.set("page", 2),  # type: ignore[func-returns-value] # that it does is the test
    ]

    assert found == 1
    assert answers == [False, False, False, ["a"], None]
    assert cache.get("page") is None
    assert len(reports.texts) == 1


def test_a_read_only_folder_is_no_error(run_python: RunPython, open_cache: OpenCache) -> None:
    # Not pytest's own folder, which other users cannot enter.
    path = environment.make_private_folder("read-only") / "entries.sqlite3"
    open_cache("prepared", sqlite_settings(path)).close()

    answers = finish(run_python(PROGRAM, "use_read_only_folder", path))

    assert answers == {"add": False, "set": None, "new": None, "delete": False}


# Corrupt


DAMAGES = [
    ("header", "a new connection"),
    ("first pages", "a new connection"),
    ("all but the header", "a new connection"),
    ("everything", "a new connection"),
    ("header", "an open connection"),
    ("everything", "an open connection"),
]


@pytest.mark.parametrize(("where", "reader"), DAMAGES)
def test_a_corrupt_file_of_its_own_is_set_aside_and_rebuilt(
    open_cache: OpenCache, sqlite_path: Path, where: str, reader: str, reports: Reports
) -> None:
    alias = f"corrupt-{where}-{reader}".replace(" ", "-")
    cache = open_cache(alias, sqlite_settings(sqlite_path))
    fill(cache)
    checkpoint(sqlite_path)
    damage(sqlite_path, where)

    def read() -> list[object]:
        own = caches[alias]
        return [own.get(f"key-{number}", "missing") for number in range(100)]

    found = read() if reader == "an open connection" else in_a_thread(read)
    await_value(lambda: use(cache), 42)

    assert set(map(type, found)) <= {str, bytes}
    assert len(reports.texts) >= 1
    aside = [path for path in sqlite_path.parent.iterdir() if "corrupt" in path.name]
    assert len(aside) >= 1
    assert soundness_of(sqlite_path) == "ok"


def in_a_thread(work: Callable[[], list[object]]) -> list[object]:
    """Run ``work`` in a thread, which has connections of its own."""

    def work_and_close() -> list[object]:
        try:
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work_and_close).result(60)


def use(cache: BaseCache) -> Any:
    cache.set_many({f"key-{number}": number for number in range(50)})
    cache.set("answer", 41)
    try:
        return cache.incr("answer") if len(cache.get_many(["key-0", "key-49"])) == 2 else None
    except ValueError:
        return None


def soundness_of(path: Path) -> str:
    connection = sqlite3.connect(path)
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchall()[0][0])
    finally:
        connection.close()


def test_no_operation_on_a_corrupt_file_raises(file_cache: BaseCache, sqlite_path: Path) -> None:
    fill(file_cache)
    checkpoint(sqlite_path)
    damage(sqlite_path, "everything")

    file_cache.delete("key-1")
    file_cache.touch("key-2", 10)
    file_cache.add("key-3", 1)
    file_cache.set_many({"key-4": 1})
    file_cache.delete_many(["key-5"])
    file_cache.clear()

    await_value(lambda: use(file_cache), 42)


def test_a_corrupt_file_with_the_site_s_tables_is_not_moved(
    run_python: RunPython, tmp_path: Path
) -> None:
    path = tmp_path / "site.sqlite3"
    path.write_bytes(b"SQLite format 3\0" + b"these are the customer's orders" * 1000)

    answers = finish(run_python(PROGRAM, "use_site_file", path))

    assert answers["page"] is None
    assert len(answers["complaints"]) == 1
    assert path.read_bytes().endswith(b"the customer's orders")
    assert [one.name for one in tmp_path.iterdir()] == ["site.sqlite3"]


@pytest.mark.parametrize("where", ["header", "everything"])
def test_four_processes_work_on_while_their_file_is_rebuilt(
    open_cache: OpenCache, sqlite_path: Path, run_python: RunPython, where: str
) -> None:
    cache = open_cache("broken", sqlite_settings(sqlite_path))
    processes = [
        run_python(PROGRAM, "use_until_stopped", sqlite_path, f"process-{n}") for n in range(4)
    ]
    for process in processes:
        await_ready(process)
    fill(cache)

    # Repeated if the damage did not last: pages that others write meanwhile are in the log, from
    # which SQLite restores the file.
    await_value(lambda: damage_and_use(cache, sqlite_path, where), True, seconds=40)
    await_value(lambda: use(cache), 42)
    deadline = time.monotonic() + 2.5  # each process checks its file once a second
    while time.monotonic() < deadline:
        use(cache)

    assert [finish(process) for process in processes] == [[], [], [], []]
    assert use(cache) == 42
    assert soundness_of(sqlite_path) == "ok"


def damage_and_use(cache: BaseCache, path: Path, where: str) -> bool:
    """Damage the file; return whether it has been set aside since."""
    checkpoint(path)
    damage(path, where)
    for _ in range(20):
        use(cache)
        if any("corrupt" in one.name for one in path.parent.iterdir()):
            return True
    return False


# Deleted


def test_a_deleted_file_is_a_miss_and_then_a_new_file(
    file_cache: BaseCache, sqlite_path: Path
) -> None:
    file_cache.set("page", 1)
    for path in sqlite_path.parent.iterdir():
        path.unlink()

    await_value(lambda: use(file_cache) if sqlite_path.exists() else use(file_cache) and None, 42)

    assert file_cache.get("page") is None


def test_an_operator_sees_that_the_file_is_locked(
    file_cache: BaseCache, sqlite_path: Path, run_python: RunPython
) -> None:
    file_cache.set("page", 1)
    holder = run_python(PROGRAM, "hold_lock", sqlite_path, "writers")
    await_ready(holder)

    with pytest.raises(CacheUnavailable, match="file-"):
        cast(DatabaseCache, file_cache).clear_entries()

    finish(holder)
