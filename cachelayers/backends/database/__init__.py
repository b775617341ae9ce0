from cachelayers.backends.database.cache import DatabaseCache, table_cache

__all__ = ["DatabaseCache", "table_cache"]
