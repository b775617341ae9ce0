"""Aliases on one table never read, change or clear each other's entries."""

from __future__ import annotations

from django.core.cache.backends.base import BaseCache

from tests.contract.fixtures import MakeCache


def test_two_aliases_have_two_values_for_one_key(cache: BaseCache, make_cache: MakeCache) -> None:
    other = make_cache("other")
    cache.set("answer", 1)
    other.set("answer", 2)

    assert cache.get("answer") == 1
    assert other.get("answer") == 2


def test_an_alias_does_not_see_the_keys_of_another(cache: BaseCache, make_cache: MakeCache) -> None:
    other = make_cache("other")
    cache.set_many({"answer": 1, "counter": 2})

    assert other.get("answer") is None
    assert other.has_key("answer") is False
    assert other.get_many(["answer", "counter"]) == {}
    assert other.touch("answer", 0) is False
    assert other.delete("answer") is False
    assert other.add("answer", 3) is True
    other.delete_many(["answer", "counter"])
    assert cache.get_many(["answer", "counter"]) == {"answer": 1, "counter": 2}


def test_clear_empties_its_own_alias_only(cache: BaseCache, make_cache: MakeCache) -> None:
    other = make_cache("other")
    cache.set_many({f"key-{number}": number for number in range(50)})
    other.set_many({f"key-{number}": -number for number in range(50)})

    other.clear()

    assert other.get("key-7") is None
    assert cache.get_many(["key-0", "key-49"]) == {"key-0": 0, "key-49": 49}


def test_clear_takes_names_that_begin_alike_for_different_ones(make_cache: MakeCache) -> None:
    names = ["pages", "pages2", "page", "Pages", "p_ges", "p%", "%"]
    made = {name: make_cache(name) for name in names}
    for name, variant in made.items():
        variant.set("answer", name)

    made["p%"].clear()
    made["%"].clear()
    made["p_ges"].clear()
    made["page"].clear()

    left = {name: variant.get("answer") for name, variant in made.items()}
    assert left == {
        "pages": "pages",
        "pages2": "pages2",
        "page": None,
        "Pages": "Pages",
        "p_ges": None,
        "p%": None,
        "%": None,
    }


def test_two_instances_of_one_alias_are_one_cache(make_cache: MakeCache) -> None:
    first = make_cache("same")
    second = make_cache("same")
    first.set("answer", 42)

    found = second.get("answer")
    second.clear()

    assert first is not second
    assert found == 42
    assert first.get("answer") is None
