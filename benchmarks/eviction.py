"""The hit ratio of bounded caches: `python -m benchmarks.eviction`.

Traces of keys go through each cache as a site uses it: get, and set on a miss. S3-FIFO is our
MemoryCache, LocMemCache culls, LRU is implemented here, theine is the package if it is installed.
All hold the same number of entries.
"""

from __future__ import annotations

import argparse
import itertools
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from django.core.cache import caches

from benchmarks.report import print_table

ENTRIES = 1_000
KEYS = 10_000
CALLS = 200_000
ROUNDS = 20
SEED = 20_260_101


class Bounded(Protocol):
    """The methods that are measured."""

    def get(self, key: str) -> Any:
        """Return the value or None."""

    def set(self, key: str, value: Any) -> Any:
        """Store a value."""


class Lru:
    """Least recently used is evicted first: the usual reference for S3-FIFO."""

    def __init__(self) -> None:
        self._values: OrderedDict[str, Any] = OrderedDict()

    def get(self, key: str) -> Any:
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def set(self, key: str, value: Any) -> None:
        self._values[key] = value
        if len(self._values) > ENTRIES:
            self._values.popitem(last=False)


class Theine:
    """W-TinyLFU in Rust, the fastest of the packages that bound by entries."""

    def __init__(self) -> None:
        self._cache = import_module("theine").Cache(ENTRIES)

    def get(self, key: str) -> Any:
        return self._cache.get(key)[0]

    def set(self, key: str, value: Any) -> None:
        self._cache.set(key, value)


def zipf(exponent: float) -> Iterator[str]:
    """Yield keys of which some are asked for much more often than others, as on every site."""
    chance = random.Random(SEED)
    weights = list(itertools.accumulate(1 / (rank + 1) ** exponent for rank in range(KEYS)))
    while True:
        yield from map(str, chance.choices(range(KEYS), cum_weights=weights, k=1_000))


def zipf_with_scans(exponent: float) -> Iterator[str]:
    """Yield the same, with scans by a crawler of pages that nobody else reads."""
    popular, pages = zipf(exponent), itertools.count()
    while True:
        yield from itertools.islice(popular, 2 * ENTRIES)
        yield from (f"page {next(pages)}" for _ in range(ENTRIES))


def loop() -> Iterator[str]:
    """Yield somewhat more keys than fit, in turn: the worst case for LRU."""
    return itertools.cycle(map(str, range(ENTRIES + ENTRIES // 5)))


TRACES: dict[str, Callable[[], Iterator[str]]] = {
    "Zipf, 0.8": lambda: zipf(0.8),
    "Zipf, 1.0": lambda: zipf(1.0),
    "Zipf, 1.2": lambda: zipf(1.2),
    "Zipf, 1.0, with scans": lambda: zipf_with_scans(1.0),
    "loop": loop,
}


def caches_of_a_run() -> dict[str, Bounded]:
    """Return one cache of each kind, empty."""
    for alias in ("s3fifo", "locmem"):
        caches[alias].clear()
    found: dict[str, Bounded] = {"S3-FIFO": caches["s3fifo"], "LRU": Lru()}
    if find_spec("theine"):
        found["theine"] = Theine()
    return {**found, "LocMemCache": caches["locmem"]}


def hit_ratio(cache: Bounded, keys: Iterator[str], calls: int) -> float:
    """Return the share of hits; the first tenth of the calls only fills the cache."""
    hits = 0
    for number, key in enumerate(itertools.islice(keys, calls)):
        if cache.get(key) is not None:
            hits += number >= calls // 10
        else:
            cache.set(key, 1)
    return hits / (calls - calls // 10)


def read_us(cache: Bounded) -> float:
    """Return the microseconds of a hit on 20 KB of text: the best of some rounds."""
    keys = [f"page {number}" for number in range(ENTRIES // 2)]
    for key in keys:
        cache.set(key, "x" * 20_000)
    rounds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        for key in keys:
            cache.get(key)
        rounds.append((time.perf_counter() - begin) / len(keys))
    return min(rounds) * 1e6


def measure(calls: int) -> dict[str, dict[str, float]]:
    """Return the hit ratios, by trace and cache."""
    return {
        name: {cache: hit_ratio(it, make(), calls) for cache, it in caches_of_a_run().items()}
        for name, make in TRACES.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eviction", description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS, help="of each trace")
    options = parser.parse_args(arguments)
    configure()
    found = measure(options.calls)
    names = list(next(iter(found.values())))
    speeds = {name: read_us(cache) for name, cache in caches_of_a_run().items()}
    rows = [[trace, *(f"{found[trace][name]:.1%}" for name in names)] for trace in found]
    rows.append(["a hit on 20 KB, us", *(f"{speeds[name]:.2f}" for name in names)])
    print_table(f"Hit ratio with room for {ENTRIES:,} of {KEYS:,} keys", ["", *names], rows)
    if not find_spec("theine"):
        print("MISSING: theine: not installed")


def configure() -> None:
    """Set Django up with the two caches."""
    from django.conf import settings

    options = {"OPTIONS": {"MAX_ENTRIES": ENTRIES}, "TIMEOUT": None}
    django_s = "django.core.cache.backends.locmem.LocMemCache"
    settings.configure(
        CACHES={
            "default": {"BACKEND": django_s},
            "s3fifo": {"BACKEND": "cachelayers.backends.MemoryCache", **options},
            "locmem": {"BACKEND": django_s, "LOCATION": "ratio", **options},
        },
        INSTALLED_APPS=["cachelayers"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    )
    import django

    django.setup()


if __name__ == "__main__":
    main()
