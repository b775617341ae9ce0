"""The longest key in the table."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache.backends.base import BaseCache, InvalidCacheKey

from tests.contract.test_keys import ignores_portability


@ignores_portability
def test_a_key_of_2000_bytes_is_the_longest(cache: BaseCache) -> None:
    longest = "x" * (2000 - len(cache.make_key("")))

    cache.set(longest, 42)

    assert len(cache.make_key(longest).encode()) == 2000
    assert cache.get(longest) == 42


@ignores_portability
@pytest.mark.parametrize("operation", ["get", "set", "add", "touch", "delete", "has_key", "incr"])
def test_a_longer_key_is_an_error_that_names_it_and_the_limit(
    cache: BaseCache, operation: str
) -> None:
    arguments = {"set": (1,), "add": (1,)}.get(operation, ())

    for letter in ["x", "ü", "🗝"]:
        too_long = letter * (2000 // len(letter.encode()) + 1)
        with pytest.raises(InvalidCacheKey) as caught:
            getattr(cache, operation)(too_long, *arguments)

        assert "2000 bytes" in str(caught.value)
        assert repr(cache.make_key(too_long)[:20])[:-1] in str(caught.value)
        assert len(str(caught.value)) < 1000  # the message quotes only a part of the key


@ignores_portability
@pytest.mark.parametrize("operation", ["get_many", "set_many", "delete_many"])
def test_one_key_that_is_too_long_is_an_error_in_bulk(cache: BaseCache, operation: str) -> None:
    keys = ["fine", "x" * 2001]
    argument: Any = dict.fromkeys(keys, 1) if operation == "set_many" else keys

    with pytest.raises(InvalidCacheKey):
        getattr(cache, operation)(argument)

    assert cache.get("fine") is None
