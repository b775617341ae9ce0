"""MemoryCache: entries in this process's memory."""

from cachelayers.backends.memory.cache import MemoryCache

__all__ = ["MemoryCache"]
