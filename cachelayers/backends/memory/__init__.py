from cachelayers.backends.memory.cache import MemoryCache, known_stores

__all__ = ["MemoryCache", "known_stores"]
