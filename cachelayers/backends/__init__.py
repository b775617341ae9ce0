"""Where values live: the cache backends that CACHES may name."""

from cachelayers.backends.database import DatabaseCache
from cachelayers.backends.layered import LayeredCache
from cachelayers.backends.memory import MemoryCache

__all__ = ["DatabaseCache", "LayeredCache", "MemoryCache"]
