"""The types that every SERIALIZER of a table preserves."""

from __future__ import annotations

import pytest

from tests.contract.fixtures import MakeCache
from tests.contract.test_counting import BORDER
from tests.contract.values import VALUES


@pytest.mark.parametrize("serializer", ["pickle", "json"])
def test_counters_count_with_every_serializer(make_cache: MakeCache, serializer: str) -> None:
    cache = make_cache(options={"SERIALIZER": serializer})
    cache.set("small", 1)
    cache.set("large", BORDER)

    assert cache.incr("small") == 2
    assert cache.incr("large") == BORDER + 1


def test_every_serializer_keeps_numbers_text_and_bytes(make_cache: MakeCache) -> None:
    cache = make_cache(options={"SERIALIZER": "json"})
    plain = {
        name.replace(" ", "-"): VALUES[name]
        for name in ["zero", "one", "largest 64 bit", "emoji", "null", "all bytes", "true", "none"]
    }

    cache.set_many(plain)
    found = cache.get_many(plain)

    assert found == plain
    assert [type(found[key]) for key in plain] == [type(value) for value in plain.values()]
