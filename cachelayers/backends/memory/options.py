"""Read and check the settings of a MemoryCache. Called by the cache and by the system checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cachelayers.backends.settings import (
    Problem,
    find_common_problems,
    is_whole,
    unmet_bound_demand,
)


@dataclass(frozen=True, kw_only=True)
class MemoryOptions:
    """The OPTIONS of a MemoryCache, with their defaults."""

    MAX_BYTES: int = 64 * 2**20  # of each process: keys, values and what Python adds
    MAX_ENTRIES: int | None = None


def find_problems(where: str, params: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with the settings of the cache called ``where`` in messages."""
    known = MemoryOptions.__dataclass_fields__
    yield from find_common_problems(where, params, known, unmet_demand)


def unmet_demand(name: str, value: Any) -> str | None:
    """Return what the option asks for, where ``value`` does not meet it."""
    if name == "MAX_BYTES":
        met = is_whole(value) and value > 0
        return None if met else "Give a whole number above 0: memory has to have a bound."
    return unmet_bound_demand(value)
