"""Find the app's execute wrapper on a connection without importing it.

The database backend uses it for its own writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

Block = Callable[[BaseDatabaseWrapper], AbstractContextManager[None]]


def mark_as_own(wrapper: Any, *, own_changes: Block) -> None:
    """Mark a wrapper as the app's. ``own_changes``: a block whose writes are not counted."""
    wrapper.cachelayers_own_changes = own_changes


def is_own(wrapper: Any) -> bool:
    """Return whether an execute wrapper is the app's."""
    return hasattr(wrapper, "cachelayers_own_changes")


def own_changes(connection: BaseDatabaseWrapper) -> AbstractContextManager[None]:
    """Return the wrapper's block for the cache's own writes, or an empty one without a wrapper."""
    own: Iterator[Any] = filter(is_own, connection.execute_wrappers)
    wrapper = next(own, None)
    if wrapper is None:
        return nullcontext()
    block: Block = wrapper.cachelayers_own_changes
    return block(connection)
