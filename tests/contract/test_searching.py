"""Operators find entries by any part of their keys, and look at what is stored."""

from __future__ import annotations

from django.core.cache import caches

from cachelayers.backends import DatabaseCache
from cachelayers.dashboard.shelves import TableShelf, shelf_of


def test_every_database_finds_and_opens_them(cache_alias: str) -> None:
    cache = caches[cache_alias]
    assert isinstance(cache, DatabaseCache)
    cache.set_many({"country:FR": ["France"], "country:fr": 2, "100%": 3, "ключ": 4})
    shelf = shelf_of(cache_alias)
    assert isinstance(shelf, TableShelf)

    for text, names in {
        "y:F": [":1:country:FR"],
        "%": [":1:100%"],
        "ключ": [":1:ключ"],
        cache_alias: [],
        "": [":1:country:FR", ":1:country:fr", ":1:100%", ":1:ключ"],
    }.items():
        found = shelf.search(text, "").entries
        assert sorted(entry.name for entry in found) == sorted(names), text
    [entry] = shelf.search("FR", "").entries
    opened = shelf.open(entry.reference)
    assert opened is not None
    assert opened.stored.value == "['France']"
    assert opened.listed.kind == "pickle"
