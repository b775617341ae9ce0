"""Keep a value so that no caller can change what another one gets. Used by the memory cache.

What cannot be changed is kept as it is, which costs neither a copy nor a pickle, also within the
envelope of a recall; everything else is kept as bytes, and each reader gets an object of its own.
"""

from __future__ import annotations

import datetime as dt
import decimal
import pickle
import uuid
from sys import getsizeof
from typing import Any

from django.utils.safestring import SafeString

from cachelayers.entries.envelope import harden

# Exact types: an instance of a subclass may carry what can be changed.
IMMUTABLE = frozenset(
    {
        *(type(None), bool, int, float, complex, str, bytes, SafeString),
        *(decimal.Decimal, uuid.UUID, dt.date, dt.time, dt.timedelta),
    }
)
MOST_ITEMS = 1_000  # of tuples that are looked through; a larger one is cheaper to pickle


# A value as it is kept, whether that is its pickle, and how many bytes of memory it takes. A plain
# tuple: a named one takes longer to make than a small value to store.
Frozen = tuple[Any, bool, int]
Content = tuple[Any, bool, float]  # value, whether it is pickled, when it expires by time.time()


def freeze(value: Any) -> Frozen:
    """Return the value as it is to be kept; raise what pickle raises for what has no pickle."""
    if type(value) in IMMUTABLE:
        return value, False, getsizeof(value)
    if type(value) is list:
        value = harden(value)
    if type(value) is tuple:
        size = size_of_immutable(value, [MOST_ITEMS])
        if size is not None:
            return value, False, size
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return data, True, getsizeof(data)


def thaw(content: Content) -> Any:
    """Return what a reader gets of a stored value; raise whatever unpickling raises."""
    value, is_pickled, _ = content
    return pickle.loads(value) if is_pickled else value  # noqa: S301 - our own memory


def size_of_immutable(value: Any, items_left: list[int]) -> int | None:
    """Return the bytes of a value that nobody can change, or None for what somebody can."""
    if type(value) in IMMUTABLE:
        return getsizeof(value)
    if type(value) is not tuple:
        return None
    items_left[0] -= len(value)
    if items_left[0] < 0:
        return None
    total = getsizeof(value)
    for item in value:
        size = size_of_immutable(item, items_left)
        if size is None:
            return None
        total += size
    return total
