"""Measure how many bytes a cache stores for values, without serialising them again.

Backends note the sizes that they know anyway, and traced recalls read them: neither imports the
other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

running_measurements: set[int] = set()  # almost always empty, which is cheap to check
_sizes: ContextVar[dict[int, int] | None] = ContextVar("cachelayers_sizes", default=None)


@contextmanager
def measuring() -> Iterator[dict[int, int]]:
    """Yield the sizes noted in the block, by the ``id()`` of each value."""
    sizes: dict[int, int] = {}
    token = _sizes.set(sizes)
    running_measurements.add(id(sizes))
    try:
        yield sizes
    finally:
        running_measurements.discard(id(sizes))
        _sizes.reset(token)


def note_size(value: object, size: int) -> None:
    """Note that a layer has stored so many bytes for a value; the largest of them counts.

    Only needed if there are ``running_measurements``.
    """
    sizes = _sizes.get()
    if sizes is not None:
        sizes[id(value)] = max(size, sizes.get(id(value), 0))
