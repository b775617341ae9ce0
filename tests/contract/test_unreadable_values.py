"""A stored value that cannot be decoded is a miss, whatever the decoder raises, on every layer."""

from __future__ import annotations

import logging
import pickle
import random
from collections import namedtuple
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.test import override_settings

from cachelayers import recall, unit_of_work
from cachelayers.entries.envelope import FORMAT, is_envelope
from tests.contract.fixtures import unused_name
from tests.settings import layered_cache, memory_cache

MUTATIONS = 300
Place = namedtuple("Place", ["name", "area"])  # noqa: PYI024 - its pickle calls Place(*items)
VALUE = {"name": "Rome", "visits": [1, 2, 3], "place": ("Lazio", 2.5), "text": "x" * 60}


class Odd:
    """A value whose class changes between writing and reading."""

    error: BaseException | None = None

    def __setstate__(self, state: object) -> None:
        if Odd.error is not None:
            raise Odd.error

    def __getstate__(self) -> dict[str, int]:
        return {"is": 1}


ERRORS = [
    TypeError("a new field"),
    ValueError("a member that was removed"),
    RecursionError(),
    MemoryError(),
    ImportError("a module that has moved"),
    KeyError("key"),
    ZeroDivisionError(),
]
every_cache = pytest.mark.parametrize(
    "layer",
    [
        "memory",
        "sqlite",
        "locmem",
        "files",
        pytest.param("redis", marks=pytest.mark.redis),
        pytest.param("core_redis", marks=pytest.mark.redis),
        pytest.param("memcached", marks=pytest.mark.memcached),
    ],
)
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"


@pytest.fixture
def stack(layer: str, django_db_setup: None) -> Iterator[BaseCache]:
    """Return a stack whose only shared layer is the one under test."""
    name = unused_name()
    above, below = {"memory": ("memory", "sqlite")}.get(layer, (f"{name}-memory", layer))
    configured = {
        name: layered_cache(above, below),
        f"{name}-memory": memory_cache(),
        "locmem": {"BACKEND": LOCMEM},
    }
    with override_settings(CACHES={**settings.CACHES, **configured}):
        yield caches[name]
        caches[name].clear()


@pytest.fixture(autouse=True)
def _sound_class() -> Iterator[None]:
    yield
    Odd.error = None


@every_cache
@pytest.mark.django_db(transaction=True)
def test_a_layer_whose_value_cannot_be_decoded_misses(stack: BaseCache, layer: str) -> None:
    for error in ERRORS:
        Odd.error = None
        stack.set("odd", Odd())
        stack.set("sound", 1)
        Odd.error = error

        assert stack.get("odd", "a miss") == "a miss", error
        assert stack.get_many(["odd", "sound"]) == {"sound": 1}, error
        with pytest.raises(ValueError, match="not found"):
            stack.incr("odd")
        stack.set("odd", "anew")
        assert stack.get("odd") == "anew", error


@pytest.mark.parametrize(
    "alias", ["memory", "sqlite", "locmem", pytest.param("redis", marks=pytest.mark.redis)]
)
@pytest.mark.django_db(transaction=True)
def test_a_recall_whose_value_cannot_be_decoded_computes(
    alias: str, caplog: pytest.LogCaptureFixture
) -> None:
    with override_settings(CACHES={**settings.CACHES, "locmem": {"BACKEND": LOCMEM}}):
        key = unused_name()
        with unit_of_work():
            recall(key, Odd, using=alias)
        Odd.error = TypeError("a new field")

        with unit_of_work(), caplog.at_level(logging.WARNING):
            assert recall(key, lambda: "anew", using=alias) == "anew"
            Odd.error = None
            assert recall(key, lambda: "never", using=alias) == "anew"


def redis_writer(alias: str) -> Callable[[str, bytes], object]:
    layer = caches[alias].flows.shared[0]  # type: ignore[attr-defined]
    head = caches[alias].state.heads[layer.alias]  # type: ignore[attr-defined]
    return lambda name, data: layer.access.client().set(layer.access.key(f"{head}{name}"), data)


@pytest.mark.redis
@pytest.mark.parametrize("layer", ["redis"])
def test_no_damaged_value_in_redis_raises(stack: Any, layer: str) -> None:
    stack.get("anything")
    write = redis_writer(stack.alias)
    data = pickle.dumps((VALUE, None), 5)
    chance = random.Random(7)

    for number in range(MUTATIONS):
        mutated = bytearray(data)
        for _ in range(chance.choice([1, 1, 2, 5])):
            mutated[chance.randrange(len(data))] = chance.randrange(256)
        name = stack._name(f"mutated-{number}", None)
        write(name, bytes(mutated[: chance.randrange(1, 200)] if number % 9 == 0 else mutated))
        stack.get(f"mutated-{number}")


@every_cache
@pytest.mark.django_db(transaction=True)
def test_a_list_of_seven_whose_items_answer_oddly_to_a_comparison_is_a_value(
    stack: BaseCache, layer: str
) -> None:
    class_is_found = [Comparing(), 2, 3, 4, 5, 6, 7]

    stack.set("seven", class_is_found)

    assert len(stack.get("seven")) == 7
    assert not is_envelope(class_is_found)
    assert not is_envelope([Format(FORMAT), 2, 3, 4, 5, 6, 7])


class Comparing:
    """Like numpy's arrays: the result of a comparison has no truth value."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value is ambiguous")

    __hash__ = None  # type: ignore[assignment]


class Format(str):
    """A text of a user's class."""

    __slots__ = ()
