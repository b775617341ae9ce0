"""Tell a cache how old its knowledge of other processes' writes may be, for one read.

A recall sets it, and LayeredCache reads it before it looks at the bus: neither imports the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

allowed_age: ContextVar[float] = ContextVar("cachelayers_allowed_age", default=0.0)  # seconds


@contextmanager
def knowledge_may_be_old(seconds: float) -> Iterator[None]:
    """Have the reads of the block do with what the process knows since some seconds."""
    token = allowed_age.set(seconds)
    try:
        yield
    finally:
        allowed_age.reset(token)
