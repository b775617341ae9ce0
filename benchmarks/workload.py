"""The keys and values of a peer's operations, in the same order for every peer."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.values import build_values


@dataclass(kw_only=True)
class Workload:
    """Endless walks over a fixed set of keys in a fixed, shuffled order.

    One cursor serves all writes, so that a key always gets another value than before.
    """

    kind: str
    rows: int
    counters: int = 0
    touched: int = 0
    keys: list[str] = field(init=False)
    counter_keys: list[str] = field(init=False)
    touched_keys: list[str] = field(init=False)
    values: list[Any] = field(init=False)
    fresh_keys: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        """Shuffle the keys: real readers do not read a table from its first row to its last."""
        self.keys = [f"{self.kind}:{number}" for number in range(self.rows)]
        random.Random(self.rows).shuffle(self.keys)
        self.values = build_values(self.kind)
        self.counter_keys = [f"counter:{number}" for number in range(self.counters)]
        # Not the read keys: a LayeredCache whose lower layer decides reads them from there next.
        self.touched_keys = [f"touched:{number}" for number in range(self.touched)]
        self._reads = itertools.cycle(self.keys)
        # One step ahead of the values in the table, so that the first writes change it too.
        values = itertools.islice(itertools.cycle(self.values), 1, None)
        self._writes = zip(itertools.cycle(self.keys), values, strict=False)
        self._serials = itertools.count()
        self._counters = itertools.cycle(self.counter_keys)
        self._touched = itertools.cycle(self.touched_keys)

    def rows_to_fill(self) -> Iterator[tuple[str, Any]]:
        """Return the pairs in the table before the first measurement."""
        keys = itertools.chain(self.keys, self.touched_keys)
        yield from own_values(zip(keys, itertools.cycle(self.values), strict=False))
        yield from ((key, 0) for key in self.counter_keys)

    def next_keys(self, count: int) -> list[str]:
        """Return existing keys."""
        return list(itertools.islice(self._reads, count))

    def next_pairs(self, count: int) -> list[tuple[str, Any]]:
        """Return existing keys, each with a value other than its present one."""
        return list(own_values(itertools.islice(self._writes, count)))

    def next_absent_keys(self, count: int) -> list[str]:
        """Return missing keys."""
        return [f"absent:{next(self._serials)}" for _ in range(count)]

    def next_counters(self, count: int) -> list[str]:
        """Return keys whose values are numbers."""
        return list(itertools.islice(self._counters, count))

    def next_touched_keys(self, count: int) -> list[str]:
        """Return existing keys that are only touched."""
        return list(itertools.islice(self._touched, count))

    def next_fresh_pairs(self, count: int) -> list[tuple[str, Any]]:
        """Return missing keys; the next call deletes the entries written for them."""
        serials = itertools.islice(self._serials, count)
        pairs = ((f"fresh:{each}", self.values[each % len(self.values)]) for each in serials)
        return list(own_values(pairs))


def own_values(pairs: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Give each key an object of its own, as a site does.

    Else a cache that stores objects would have few of them, all in the processor's caches.
    """
    return (
        (key, value[:1] + value[1:] if isinstance(value, str) else value) for key, value in pairs
    )
