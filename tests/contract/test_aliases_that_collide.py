"""Two aliases with the same range of ids: eviction of one spares the other's entries."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.test import override_settings

from cachelayers.entries.keys import id_range_of


def colliding_aliases() -> tuple[str, str]:
    known: dict[int, str] = {}
    for number in itertools.count():
        alias = f"pages-{number}"
        other = known.setdefault(id_range_of(alias).first, alias)
        if other != alias:
            return other, alias
    raise AssertionError


@pytest.mark.parametrize("cache_alias", ["sqlite"], indirect=True)
def test_a_bounded_cache_evicts_its_own_entries_only(cache_alias: str) -> None:
    small, large = colliding_aliases()
    usual: dict[str, Any] = settings.CACHES[cache_alias]
    bounded = {**usual, "OPTIONS": {"MAX_ENTRIES": 10}}
    with override_settings(CACHES={**settings.CACHES, small: bounded, large: usual}):
        caches[large].set_many({f"key-{number}": number for number in range(50)}, timeout=None)

        for number in range(300):
            caches[small].set(f"key-{number}", number)
        evicted = 300 - caches[small].count_entries()  # type: ignore[attr-defined] # an operator's
        left = caches[large].count_entries()  # type: ignore[attr-defined] # an operator's
        caches[small].clear()
        left_after_clear = caches[large].count_entries()  # type: ignore[attr-defined] # as above
        caches[large].clear()

    assert evicted > 200
    assert (left, left_after_clear) == (50, 50)
