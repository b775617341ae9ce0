"""LOCATION of a LayeredCache: the layers that it stands for, their bus, options and names."""

from __future__ import annotations

import os
from dataclasses import fields
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from pytest_django import Settings

from cachelayers import implied_layers, recall, unit_of_work
from cachelayers.admin.forms import EntriesForm
from cachelayers.backends.database.options import DatabaseOptions
from cachelayers.backends.database.sqlite_file import check_files_again
from cachelayers.backends.layered.bus import Events, FileBus, event_of
from cachelayers.backends.layered.layers.table import TableLayer
from cachelayers.checks import cache_messages, file_messages
from cachelayers.conf import layers_of
from cachelayers.dashboard import overview
from cachelayers.dashboard.entries import Wanted, entry_store_of, entry_stores
from cachelayers.dashboard.overview import SPANS, read_overview
from cachelayers.management.commands import prune_cache
from cachelayers.statistics import layer_states
from cachelayers.utils.counters import figures_of_process
from tests.state import reset

SQLITE = ["default", "sqlite_cache", "sqlite_memory"]
BACKEND = "cachelayers.backends.LayeredCache"


def configure(settings: Settings, location: Any, **params: Any) -> Any:
    """Return the cache with a LOCATION, and new state."""
    settings.CACHES = {"default": {"BACKEND": BACKEND, "LOCATION": location, **params}}
    reset("backends.layered")
    return caches["default"]


def problems(settings: Settings, location: Any, options: Any = None) -> list[Any]:
    located = {"BACKEND": BACKEND, "LOCATION": location}
    settings.CACHES = {"default": located if options is None else {**located, "OPTIONS": options}}
    return [*cache_messages(), *file_messages()]


def backends(cache: Any) -> list[tuple[str, str]]:
    return [(layer["alias"], layer["backend"]) for layer in cache.describe_layers()]


@pytest.mark.django_db(transaction=True)
def test_a_path_is_a_table_in_a_file_below_memory(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "cache.sqlite3"
    cache = configure(settings, path)

    cache.set("key", "value")

    assert backends(cache) == [("memory", "MemoryCache"), (str(path), "DatabaseCache")]
    assert cache.get("key") == cache.get_shared("key") == "value"
    assert type(cache.flows.bus).__name__ == "FileBus"
    with unit_of_work():
        assert recall("one", lambda: 1) == recall("one", lambda: 2) == 1


@pytest.mark.django_db(transaction=True)
def test_an_alias_is_the_table_there(settings: Settings) -> None:
    cache = configure(settings, "default")

    cache.set("key", "value")

    assert backends(cache) == [("memory", "MemoryCache"), ("database default", "DatabaseCache")]
    assert cache.get_shared("key") == "value"
    assert type(cache.flows.bus).__name__ == "LogBus"


@pytest.mark.redis
@pytest.mark.django_db(transaction=True)
def test_a_redis_in_a_list_is_the_bus(redis_url: str, tmp_path: Path, settings: Settings) -> None:
    cache = configure(settings, [redis_url, str(tmp_path / "cache.sqlite3")], KEY_PREFIX="located")

    cache.set("key", "value")

    assert cache.get("key") == cache.get_shared("key") == "value"
    assert [name for name, _ in backends(cache)][1] == redis_url
    assert type(cache.flows.bus).__name__ == "StreamBus"
    assert all(layer["error"] is None for layer in cache.describe_layers())


def test_without_django_redis_django_s_own_backend_is_used(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(implied_layers, "find_spec", lambda name: name != "django_redis" or None)

    assert problems(settings, "redis://127.0.0.1/1") == []
    assert implied_layers.redis_backend() == "django.core.cache.backends.redis.RedisCache"


@pytest.mark.memcached
def test_memcached_has_no_bus(memcached_address: str, settings: Settings) -> None:
    location = f"memcached://{memcached_address}"
    cache = configure(settings, location, KEY_PREFIX="located")

    cache.set("key", "value")

    assert cache.get_shared("key") == "value"
    assert backends(cache)[1] == (location, "PyMemcacheCache")
    assert [warning.id for warning in cache_messages()] == ["cachelayers.W006"]


def test_options_go_to_the_layer_that_has_them(tmp_path: Path, settings: Settings) -> None:
    options = {"MAX_BYTES": 10**6, "COMPRESSION": "zlib", "MEMORY_MAX_BYTES": 10**5}
    cache = configure(
        settings, tmp_path / "cache.sqlite3", OPTIONS={**options, "BUS": None, "TIME_LIMIT": 1}
    )

    memory, table = cache.flows.layers
    assert memory.store.max_bytes == 10**5
    assert isinstance(table, TableLayer)
    assert table.table._evictor.max_bytes == 10**6
    assert cache.flows.limit_seconds == 1
    assert type(cache.flows.bus).__name__ == "NoBus"


def test_the_table_has_a_limit_by_default(tmp_path: Path, settings: Settings) -> None:
    cache = configure(settings, tmp_path / "cache.sqlite3")

    assert cache.flows.layers[1].table._evictor.max_bytes == implied_layers.TABLE_BYTES


def test_every_option_of_a_table_is_passed_on() -> None:
    names = {field.name for field in fields(DatabaseOptions)}

    assert names == implied_layers.TABLE_OPTIONS


@pytest.mark.parametrize(
    ("location", "options", "number", "words"),
    [
        ("misspelt", {}, "E047", "'misspelt', which is no place for a layer"),
        (["default", "http://host"], {}, "E047", "'http://host', which is no place"),
        (7, {}, "E047", "memcached://host:port"),
        (["default", "default"], {}, "E047", "'default' twice"),
        (Path("cache.sqlite3"), {}, "E045", "relative path"),
        ("default", {"LAYERS": ["a", "b"]}, "E003", "and OPTIONS has LAYERS"),
        ("default", {"MAX_BYTES": 0}, "E004", "MAX_BYTES is 0"),
        ("default", 7, "E004", "must be a dictionary"),
        ("default", {"MEMORY_MAX_BYTES": None, "TIME_LIMIT": 0}, "E004", "TIME_LIMIT is 0"),
        ("default", {"MEMORY_MAX_BYTES": 0}, "E004", "memory has to have a bound"),
        ("default", {"MAX_BITES": 1}, "E003", "unknown key 'MAX_BITES'"),
        ("default", {"BUS": "kafka"}, "E013", "BUS is 'kafka'"),
        ("redis://:secret@host/1", {"MAX_BYTES": 1}, "E003", "LOCATION names none"),
    ],
)
def test_wrong_settings_are_named_with_their_cure(
    location: Any, options: Any, number: str, words: str, settings: Settings
) -> None:
    [error] = problems(settings, location, options)

    assert error.id == f"cachelayers.{number}"
    assert words in f"{error.msg} {error.hint}"
    assert "secret" not in f"{error.msg} {error.hint}"
    assert isinstance(layers_of("default"), list)  # what others ask still has an answer
    with pytest.raises(ImproperlyConfigured):
        caches["default"].get("key")


def test_a_missing_client_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(implied_layers, "find_spec", lambda name: None)

    [error] = problems(settings, "redis://127.0.0.1/1")

    assert (error.id, "[redis]" in error.hint) == ("cachelayers.E047", True)


def test_a_missing_folder_is_a_warning(tmp_path: Path, settings: Settings) -> None:
    [warning] = problems(settings, tmp_path / "missing" / "cache.sqlite3")

    assert warning.id == "cachelayers.W055"


# Names for people


def test_names_hide_passwords_and_fit_the_statistics(settings: Settings) -> None:
    long = "/srv/" + "long/" * 40 + "cache.sqlite3"
    settings.CACHES = {
        "default": {"BACKEND": BACKEND, "LOCATION": ["redis://user:secret@host:1/2", long]}
    }

    aliases = layers_of("default")

    assert aliases[:2] == ["default: memory", "default: redis://***@host:1/2"]
    assert len(aliases[2]) == 100
    assert aliases[2].endswith("/cache.sqlite3")


@pytest.mark.django_db(transaction=True, databases=SQLITE)
def test_each_place_for_operators_shows_the_layers(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "databases_with_log", list)
    path = str(tmp_path / "cache.sqlite3")
    cache = configure(settings, path)
    cache.set("key", "value")
    cache.get("key")
    names = [("default", "memory"), ("default", path)]

    assert [(state.cache, state.layer) for state in layer_states()] == names
    assert set(names) <= set(figures_of_process())
    lines = [(line.cache, line.layer) for line in read_overview(SPANS["hour"]).lines]
    assert lines == [("default", ""), *names]
    assert entry_stores() == {
        "default: memory": "MemoryCache",
        f"default: {path}": "DatabaseCache",
    }
    assert EntriesForm({"alias": f"default: {path}"}).is_valid()
    assert not EntriesForm({"alias": "default: absent"}).is_valid()
    [listed] = [
        one
        for one in entry_store_of(f"default: {path}").search(Wanted("key"), "").entries
        if one.name.endswith(":key")
    ]
    assert listed.kind == "text"


@pytest.mark.django_db(transaction=True, databases=SQLITE)
def test_commands_reach_the_layers(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune_cache.Command, "_prune_logs", lambda command: [])
    cache = configure(settings, tmp_path / "cache.sqlite3")
    cache.set("old", 1, timeout=0.001)
    said = StringIO()

    call_command("clear_cache", expired=True, interactive=False, stdout=said)
    call_command("prune_cache", stdout=said)
    cache.set("key", 1)
    call_command("clear_cache", cache=["default"], interactive=False, stdout=said)

    assert "default: removed 1 entry" in said.getvalue()
    assert f"default: {tmp_path / 'cache.sqlite3'}: 0 expired entries" in said.getvalue()
    assert f"  {tmp_path / 'cache.sqlite3'}: cleared" in said.getvalue()
    assert cache.get("key") is None


# Processes


@pytest.mark.django_db(transaction=True)
def test_another_process_sees_a_write_and_a_moved_file_keeps_its_entries(
    tmp_path: Path, settings: Settings
) -> None:
    path = tmp_path / "cache.sqlite3"
    cache = configure(settings, path)
    cache.set("key", "old")
    with unit_of_work():
        assert cache.get("key") == "old"
    child = os.fork()
    if not child:
        cache.set("key", "new")
        os._exit(0)
    os.waitpid(child, 0)

    with unit_of_work():
        assert cache.get("key") == "new"


def test_memory_is_emptied_if_a_new_file_has_equal_events(
    tmp_path: Path, settings: Settings
) -> None:
    path = tmp_path / "cache.sqlite3"
    bus = configure(settings, path).flows.bus
    reader = FileBus("default", bus.table)
    found: list[Events] = []
    for _ in range(2):
        bus._newest()
        bus.append(event_of(["key"]))
        reader.read(found.append)
        for file in tmp_path.iterdir():
            file.unlink()
        check_files_again()

    assert [one.everything for one in found] == [True, True]


def test_caches_of_one_location_have_their_own_entries(tmp_path: Path, settings: Settings) -> None:
    located = {"BACKEND": BACKEND, "LOCATION": tmp_path / "cache.sqlite3"}
    settings.CACHES = {"default": located, "other": {**located, "VERSION": 2}}
    reset("backends.layered")
    caches["default"].set("key", 1)
    caches["other"].set("key", 2)

    caches["other"].clear()

    assert caches["default"].get("key") == 1
    assert caches["other"].get("key") is None
