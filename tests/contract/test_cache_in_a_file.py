"""A path as LOCATION: the cache makes the file and its table, and Django sees no database."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.db import connections, transaction
from pytest_django import Settings

from cachelayers.backends.database import sessions, sqlite_file
from cachelayers.checks import cache_messages, file_messages, network_file_system, problem_on_disk
from cachelayers.utils.counters import counts
from tests.settings import database_cache

TABLE = "SELECT sql FROM sqlite_master WHERE name = 'cachelayers_entry'"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.sqlite3"


@pytest.fixture
def cache(path: Path, settings: Settings) -> Iterator[Any]:
    settings.CACHES = {
        **settings.CACHES,
        "in-a-file": {**database_cache(str(path)), "LOCATION": path},
    }
    yield caches["in-a-file"]
    del caches["in-a-file"]


def rows(path: str | Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def test_the_first_use_makes_the_file_as_the_migrations_would(
    cache: Any, path: Path, django_db_setup: None
) -> None:
    cache.set("key", "value")

    assert cache.get("key") == "value"
    migrated = connections["sqlite_cache"].settings_dict["NAME"]
    assert rows(path, TABLE) == rows(migrated, TABLE)
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]


def test_only_the_site_s_user_can_read_and_write_the_file(cache: Any, path: Path) -> None:
    cache.set("key", "value")

    modes = {file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == {0o600}


def test_a_file_that_exists_keeps_its_permissions(cache: Any, path: Path) -> None:
    path.touch()
    path.chmod(0o660)

    cache.set("key", "value")

    assert cache.get("key") == "value"
    assert path.stat().st_mode & 0o777 == 0o660


def test_django_has_no_connection_to_it(cache: Any) -> None:
    before = list(connections)

    cache.set("key", "value")

    assert list(connections) == before


@pytest.mark.django_db(transaction=True)
def test_a_rollback_of_the_site_leaves_its_entries(cache: Any) -> None:
    with transaction.atomic():
        cache.set("key", "value")
        transaction.set_rollback(True)

    assert cache.get("key") == "value"


def test_a_deleted_file_is_made_again(cache: Any, path: Path) -> None:
    cache.set("key", "old")
    cache.get("key")
    for file in path.parent.iterdir():
        file.unlink()
    sqlite_file.check_files_again()

    assert cache.get("key") is None
    cache.set("key", "new")

    assert cache.get("key") == "new"
    assert rows(path, "SELECT COUNT(*) FROM cachelayers_entry") == [(1,)]


def test_a_dropped_table_is_made_again(cache: Any, path: Path) -> None:
    cache.set("key", "old")
    rows(path, "DROP TABLE cachelayers_entry")

    cache.get("key")
    cache.set("key", "new")

    assert cache.get("key") == "new"


def test_a_corrupt_file_is_renamed_and_made_again(cache: Any, path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"no database" * 1000)

    cache.set("key", "lost")
    cache.set("key", "value")

    assert cache.get("key") == "value"
    assert list(path.parent.glob("cache.sqlite3.corrupt-*"))


def test_a_file_that_is_not_sqlite_s_is_left_alone(cache: Any, path: Path) -> None:
    path.write_bytes(b"#!/usr/bin/env python\n" * 100)

    cache.set("key", "value")

    assert cache.get("key") is None
    assert path.read_bytes() == b"#!/usr/bin/env python\n" * 100
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert problem_on_disk(str(path)) == "it is not an SQLite file, so it is not the cache's"


def test_another_program_s_file_is_left_alone(cache: Any, path: Path) -> None:
    rows(path, "CREATE TABLE of_others (id)")

    cache.set("key", "value")

    assert cache.get("key") is None
    assert rows(path, "SELECT name FROM sqlite_master") == [("of_others",)]


def test_caches_in_one_file_have_their_own_entries(path: Path, settings: Settings) -> None:
    in_file = database_cache(str(path))
    settings.CACHES = {
        **settings.CACHES,
        "one": in_file,
        "two": in_file,
        "prefixed": {**in_file, "KEY_PREFIX": "p", "VERSION": 7},
    }
    caches["one"].set("key", 1)
    caches["two"].set("key", 2)
    caches["prefixed"].set("key", 3)

    caches["two"].clear()

    assert [caches[name].get("key") for name in ("one", "two", "prefixed")] == [1, None, 3]
    assert caches["prefixed"].get("key", version=1) is None


def test_several_processes_make_one_file_together(cache: Any, path: Path) -> None:
    reading, writing = os.pipe()
    children = []
    for number in range(4):
        if child := os.fork():
            children.append(child)
            continue
        os.close(writing)
        os.read(reading, 1)  # until all are there
        cache.set_many({f"{number}-{key}": key for key in range(3)})
        os._exit(counts.of("in-a-file", "errors"))
    os.close(writing)

    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    os.close(reading)
    assert rows(path, "SELECT COUNT(*) FROM cachelayers_entry") == [(12,)]


def test_a_child_and_its_parent_use_the_file_after_a_fork(cache: Any) -> None:
    cache.set("parent", 1)
    child = os.fork()
    if not child:
        is_found = cache.get("parent") == 1
        cache.set("child", 2)
        os._exit(0 if is_found else 1)

    assert os.waitpid(child, 0)[1] == 0
    assert cache.get("child") == 2


def test_a_test_run_leaves_the_site_s_file_alone(
    cache: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_files_of_site", {str(path)})

    cache.set("key", "value")

    assert cache.get("key") == "value"
    assert not path.exists()
    child = os.fork()
    if not child:
        os._exit(0 if cache.get("key") is None else 1)  # each worker has a file of its own
    assert os.waitpid(child, 0)[1] == 0
    assert not path.exists()


# Checks


def messages(settings: Settings, location: Any) -> list[Any]:
    settings.CACHES = {"default": {**database_cache(""), "LOCATION": location}}
    return [*cache_messages(), *file_messages()]


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("cache.sqlite3", "relative path"),
        (Path("cache"), "relative path"),
        (Path(str(settings.DATABASES["default"]["NAME"])), "the file of an alias in DATABASES"),
        ("misspelt", "not in DATABASES"),
        ("file:/srv/cache.sqlite3?mode=ro", "not in DATABASES"),
        ("redis://user:secret@host", "'redis://***@host', which is not in DATABASES"),
    ],
)
def test_what_cannot_be_a_file_is_an_error(
    location: Any, expected: str, settings: Settings
) -> None:
    [error] = messages(settings, location)

    assert expected in error.msg
    assert "BASE_DIR / 'cache.sqlite3'" in error.hint


@pytest.mark.parametrize("ending", ["cache.sqlite3", "cache.db", "cache"])
def test_a_text_with_a_separator_is_a_path(ending: str, tmp_path: Path, settings: Settings) -> None:
    assert messages(settings, str(tmp_path / ending)) == []


def test_a_missing_folder_is_a_warning(tmp_path: Path, settings: Settings) -> None:
    [warning] = messages(settings, tmp_path / "missing" / "cache.sqlite3")

    assert warning.id == "cachelayers.W055"
    assert f"no folder {str(tmp_path / 'missing')!r}" in warning.msg
    caches["default"].set("key", "value")
    assert caches["default"].get("key") is None


def test_a_folder_or_file_without_permission_is_a_warning(
    path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.touch()
    monkeypatch.setattr(os, "access", lambda of, mode: Path(of) != path)  # root may do everything

    [warning] = messages(settings, path)

    assert (warning.id, "may not read or write it" in warning.msg) == ("cachelayers.W055", True)


def test_a_network_file_system_is_named(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"/dev/a / ext4 rw 0 0\nhost:/x {tmp_path} nfs4 rw 0 0\n/dev/b {tmp_path}/a ext4 rw 0 0\n"
    )

    assert network_file_system(tmp_path / "cache.sqlite3", mounts) == "nfs4"
    assert network_file_system(tmp_path / "a" / "cache.sqlite3", mounts) is None
    assert network_file_system(Path("/srv/cache.sqlite3"), mounts) is None


def test_unlogged_has_no_effect_in_a_file(path: Path, settings: Settings) -> None:
    settings.CACHES = {"default": {**database_cache(str(path)), "OPTIONS": {"UNLOGGED": True}}}

    assert [message.id for message in cache_messages()] == ["cachelayers.W004"]
