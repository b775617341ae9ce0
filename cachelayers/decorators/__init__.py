"""The door in Python: @cached keeps what a function returns."""

from cachelayers.decorators.functions import CachedFunction, CachedMethod, Handles, cached

__all__ = [
    "CachedFunction",
    "CachedMethod",
    "Handles",
    "cached",
]
