"""How many bytes were stored for each function and fragment, without serialising them again."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.cache import caches
from django.core.management import call_command
from pytest_django import Settings

from cachelayers import arecall, recall, recall_many, unit_of_work
from cachelayers.models import Entry
from cachelayers.statistics import Advice, advice, flush
from cachelayers.utils import tracing
from tests.settings import database_cache, layered_cache, memory_cache
from tests.statistics.helpers import run_async

pytestmark = pytest.mark.django_db(transaction=True)
TEXT = "".join(chr(33 + number * number % 90) for number in range(5_000))


@pytest.fixture(autouse=True)
def caches_of_each_kind(settings: Settings) -> None:
    settings.CACHES = {
        "default": memory_cache(),
        "table": {**database_cache("default"), "OPTIONS": {"COMPRESSION": "zlib"}},
        "layered": layered_cache("default", "table"),
        "unknown": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    }
    settings.CACHELAYERS = {**settings.CACHELAYERS, "ADVISE_SAMPLE": 1.0, "TRACK": []}
    for cache in caches.all():
        cache.clear()


def stored_by(work: Callable[[], object]) -> dict[str, int]:
    """Return the bytes of the samples, by the key before its arguments."""
    with tracing.sampling(), unit_of_work():
        work()
    found = {one.name: one.stored_bytes for one in tracing.pending_samples if one.kind == "recall"}
    tracing.pending_samples.clear()
    return found


def table_bytes() -> list[int]:
    return sorted(len(bytes(one.data or b"")) for one in Entry.objects.all())


def test_a_table_tells_the_bytes_of_the_column() -> None:
    found = stored_by(lambda: recall("text", lambda: TEXT, using="table"))

    assert found == {"text": table_bytes()[-1]}
    assert found["text"] < len(TEXT)  # it is compressed


def test_memory_tells_the_bytes_of_the_value() -> None:
    found = stored_by(lambda: recall("text", lambda: TEXT))

    assert len(TEXT) < found["text"] < len(TEXT) + 1_000


def test_of_several_layers_the_largest_copy_counts() -> None:
    found = stored_by(lambda: recall("text", lambda: TEXT, using="layered"))

    assert found["text"] > len(TEXT) > table_bytes()[-1]


@pytest.mark.parametrize("using", ["default", "table", "layered"])
def test_each_value_of_a_batch_has_its_own_bytes(using: str) -> None:
    def compute(keys: list[str]) -> dict[str, Any]:
        return {key: list(range(1000 * int(key[-1]))) for key in keys}

    found = stored_by(lambda: recall_many(["n1", "n9"], compute, using=using))

    assert 0 < 3 * found["n1"] < found["n9"]


@pytest.mark.parametrize("using", ["default", "table", "layered"])
def test_async_code_stores_the_same_bytes(using: str) -> None:
    async def compute() -> str:
        return TEXT

    async def work() -> None:
        await arecall("text", compute, using=using)

    found = stored_by(lambda: run_async(work))

    again = stored_by(lambda: recall("text:again", lambda: TEXT, using=using))
    assert found["text"] == pytest.approx(again["text"], abs=10)  # times differ
    assert found["text"] > 100


def test_a_cache_that_does_not_tell_has_no_figure() -> None:
    assert stored_by(lambda: recall("text", lambda: TEXT, using="unknown")) == {"text": 0}


def test_a_hit_and_a_value_that_is_too_large_store_nothing(settings: Settings) -> None:
    recall("text", lambda: TEXT)
    assert stored_by(lambda: recall("text", lambda: TEXT)) == {"text": 0}

    small = {**memory_cache(), "OPTIONS": {"MAX_VALUE_BYTES": 1_000}}
    settings.CACHES = {**settings.CACHES, "default": small}
    assert stored_by(lambda: recall("large", lambda: TEXT)) == {"large": 0}


@pytest.mark.redis
def test_a_redis_layer_tells_what_it_has_serialised(redis_url: str, settings: Settings) -> None:
    redis = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"{redis_url}/3"}
    layered = layered_cache("redis", "table")
    settings.CACHES = {**settings.CACHES, "redis": redis, "layered": layered}

    found = stored_by(lambda: recall("text", lambda: TEXT, using="layered"))

    assert len(TEXT) < found["text"] < len(TEXT) + 1_000


class Counted:
    """Counts how often it is pickled."""

    pickled = 0

    def __reduce__(self) -> tuple[Any, ...]:
        Counted.pickled += 1
        return Counted, ()


def test_nothing_is_serialised_for_the_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    times = []
    for key, run in (("plain", lambda work: work()), ("measured", stored_by)):
        monkeypatch.setattr(Counted, "pickled", 0)
        run(lambda: recall(key, Counted, using="layered"))  # noqa: B023
        times.append(Counted.pickled)

    assert times[0] == times[1] > 0


def advised() -> Advice:
    flush()
    [found] = advice(kinds=["recall"])
    return found


def test_the_advice_adds_up_what_all_recalls_have_stored(settings: Settings) -> None:
    settings.CACHELAYERS = {**settings.CACHELAYERS, "ADVISE_SAMPLE": 0.5}
    with tracing.sampling(), unit_of_work():
        for number in range(40):
            recall(f"text:{number}", lambda: TEXT, using="table")
    samples = list(tracing.pending_samples)

    found = advised()

    assert 0 < len(samples) < 40
    assert found.stored_bytes == 2 * sum(one.stored_bytes for one in samples)
    call_command("cache_stats", "--advise", stdout=(out := StringIO()))
    _, headings, line, *_ = out.getvalue().splitlines()
    assert headings.split() == ["saving", "spent", "calls", "repeats", "changed", "bytes", "what"]
    assert f" {found.stored_bytes:,}  recall text" in line
