from cachelayers.backends.database.cache import DatabaseCache

__all__ = ["DatabaseCache"]
