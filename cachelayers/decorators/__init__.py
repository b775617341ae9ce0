"""`@cached`: cache what a function returns, by its arguments. It is built on recall()."""

from cachelayers.decorators.functions import (
    CachedFunction,
    CachedMethod,
    Handles,
    cached,
    entry_of_call,
)

__all__ = [
    "CachedFunction",
    "CachedMethod",
    "Handles",
    "cached",
    "entry_of_call",
]
