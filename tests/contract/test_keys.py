"""Which keys are different, which are refused, and how."""

from __future__ import annotations

import enum
import itertools
from typing import Any

import pytest
from django.core.cache.backends.base import BaseCache, InvalidCacheKey
from django.utils.translation import gettext_lazy

from tests.contract.fixtures import MakeCache, every_backend

pytestmark = every_backend

ORDINARY_KEYS = [
    "plain",
    "Plain",
    "PLAIN",
    "",
    "0",
    "1",
    "01",
    "a:b",
    "a::b",
    ":1:a",
    "a/b?c=d&e=f#g",
    "100%",
    "100%s",
    "a_b",
    "a%b",
    '"quoted"',
    "back\\slash",
    "back\\\\slash",
    "[a]",
    "a*",
    "a?",
    "ä",
    "a\u0308",  # looks like the one above; a collation must not treat them as equal
    "ae",
    "æ",
    "ß",
    "ss",
    "\u017f",  # the long s, which upper-cases to S
    "é",
    "e",
    "日本語",
    "ключ",
    "مفتاح",
    "🗝",
    "🗝\ufe0f",
    "👩\u200d🚀",
    "\u200b",
    "\U0010ffff",
    "K",
    "\u212a",  # the Kelvin sign, which lower-cases to k
    "I",
    "\u0131",  # the dotless i, which upper-cases to I
    "İ",
]

# Django warns of these, because memcached refuses them; a table has no reason to.
UNPORTABLE_KEYS = [
    "'; DROP TABLE cachelayers_entry; --",
    "a b",
    "trailing",
    "trailing ",
    "trailing  ",
    " trailing",
    "tab\t",
    "line\nbreak",
    "line\r\nbreak",
    "null\x00",
    "null\x00byte",
    "null\x00bytes",
    "\x00",
    "\x01",
    "\x1f",
    "\x7f",
    "x" * 250,
    "x" * 251,
    "x" * 1500,
    "x" * 1499 + "y",
    "ü" * 900,
]

ignores_portability = pytest.mark.filterwarnings("ignore::django.core.cache.CacheKeyWarning")


def test_keys_that_look_alike_are_different_entries(cache: BaseCache) -> None:
    for key in ORDINARY_KEYS:
        cache.set(key, f"value of {key!r}")

    found = {key: cache.get(key) for key in ORDINARY_KEYS}

    assert found == {key: f"value of {key!r}" for key in ORDINARY_KEYS}


@ignores_portability
def test_unportable_keys_are_different_entries_too(cache: BaseCache) -> None:
    for key in UNPORTABLE_KEYS:
        cache.set(key, f"value of {key!r}")

    found = {key: cache.get(key) for key in UNPORTABLE_KEYS}

    assert found == {key: f"value of {key!r}" for key in UNPORTABLE_KEYS}


@ignores_portability
def test_bulk_operations_take_every_key(cache: BaseCache) -> None:
    keys = ORDINARY_KEYS + UNPORTABLE_KEYS
    values = {key: number for number, key in enumerate(keys)}

    cache.set_many(values)
    found = cache.get_many(keys)
    cache.delete_many(keys)

    assert found == values
    assert cache.get_many(keys) == {}


@ignores_portability
def test_only_the_exact_key_finds_an_entry(cache: BaseCache) -> None:
    for written, asked in itertools.permutations(["key", "KEY", "key ", "key\x00", "kéy"], 2):
        cache.set(written, 1)

        assert cache.get(asked) is None
        assert cache.has_key(asked) is False
        assert cache.touch(asked) is False
        assert cache.delete(asked) is False
        assert cache.add(asked, 2) is True
        assert cache.get(written) == 1
        cache.delete_many([written, asked])


def made_number(key: str, key_prefix: str, version: int) -> int:
    return 42


def test_a_key_function_that_makes_no_string_is_an_error(make_cache: MakeCache) -> None:
    cache = make_cache(KEY_FUNCTION=made_number)

    with pytest.raises(InvalidCacheKey, match="42"):
        cache.set("answer", 1)


class Size(enum.StrEnum):
    SMALL = "s"

    def __str__(self) -> str:
        return "small"


def test_a_key_that_is_no_string_is_its_text_as_in_django(cache: BaseCache) -> None:
    keys: list[Any] = [1, 1.5, None, gettext_lazy("Yes"), Size.SMALL]
    for key in keys:
        cache.set(key, "by its object")
        assert cache.get(str(key)) == "by its object"
        assert cache.get(key) == "by its object"
        assert cache.get_many([key]) == {key: "by its object"}
        assert cache.add(key, 2) is False
        assert cache.has_key(key) is True
        assert cache.touch(key) is True
        assert cache.set_many({key: 41}) == []
        assert cache.incr(key) == 42
        assert cache.delete(key) is True
        cache.delete_many([key])
        assert cache.get(key) is None


class Slug(str):
    """A subclass of str of the caller's own, like Django's SafeString."""

    __slots__ = ()


def test_a_subclass_of_str_is_the_same_key(cache: BaseCache) -> None:
    cache.set(Slug("answer"), 42)

    assert cache.get("answer") == 42
    assert cache.get_many([Slug("answer")]) == {"answer": 42}


def test_a_lone_surrogate_is_a_key_like_any_other(cache: BaseCache) -> None:
    cache.set("half-\ud800", 42)

    assert cache.get("half-\ud800") == 42
    assert cache.get("half-?") is None
    assert cache.get_many(["half-\ud800"]) == {"half-\ud800": 42}
