from cachelayers.backends.memory.cache import MemoryCache

__all__ = ["MemoryCache"]
