"""`@cached`: cache what a function returns, by its arguments. It is built on recall()."""

from cachelayers.decorators.functions import (
    CachedFunction,
    CachedMethod,
    Handles,
    cached,
    entry_of_call,
)
from cachelayers.decorators.many import CachedMany, cached_many

__all__ = [
    "CachedFunction",
    "CachedMany",
    "CachedMethod",
    "Handles",
    "cached",
    "cached_many",
    "entry_of_call",
]
