"""The door in Python: @cached keeps what a function returns."""

from cachelayers.decorators.decoration import cached
from cachelayers.decorators.functions import CachedFunction, CachedMethod

__all__ = ["CachedFunction", "CachedMethod", "cached"]
