"""Operators find entries by any part of their keys, and read stored values."""

from __future__ import annotations

from django.conf import settings
from django.core.cache import caches

from cachelayers.backends import DatabaseCache
from cachelayers.dashboard.entries import TableEntryStore, Wanted, entry_store_of
from cachelayers.models import Entry


def test_every_database_finds_and_opens_them(cache_alias: str) -> None:
    cache = caches[cache_alias]
    assert isinstance(cache, DatabaseCache)
    cache.set_many({"country:FR": ["France"], "country:fr": 2, "100%": 3, "ключ": 4})
    shelf = entry_store_of(cache_alias)
    assert isinstance(shelf, TableEntryStore)

    for text, names in {
        "y:F": [":1:country:FR"],
        "%": [":1:100%"],
        "ключ": [":1:ключ"],
        cache_alias: [],
        "": [":1:country:FR", ":1:country:fr", ":1:100%", ":1:ключ"],
    }.items():
        found = shelf.search(Wanted(text), "").entries
        assert sorted(entry.name for entry in found) == sorted(names), text
    [entry] = shelf.search(Wanted("FR"), "").entries
    opened = shelf.open(entry.reference)
    assert opened is not None
    assert opened.stored.value == "['France']"
    assert opened.listed.kind == "pickle"


def test_a_row_of_another_cache_between_its_own_is_left_out(cache_alias: str) -> None:
    cache = caches[cache_alias]
    assert isinstance(cache, DatabaseCache)
    cache.set("ours", 1)
    database = settings.CACHES[cache_alias]["LOCATION"]
    theirs = Entry(
        id=cache.first_id + 1,
        full_key=b"theirs\0:1:ours",
        expires=2**62,
        used=0,
        format=0,
        number=1,
    )
    theirs.save(using=database, force_insert=True)

    try:
        listed = cache.search_entries("ours", cache.first_id, 10)
    finally:
        theirs.delete(using=database)

    assert [row.key for row in listed] == [f"{cache_alias}\0:1:ours".encode()]
