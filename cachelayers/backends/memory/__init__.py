from cachelayers.backends.memory.cache import MemoryCache, drop_store, known_stores

__all__ = ["MemoryCache", "drop_store", "known_stores"]
