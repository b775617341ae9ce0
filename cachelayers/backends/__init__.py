"""Where values live: the cache backends that CACHES may name."""

from cachelayers.backends.database import DatabaseCache

__all__ = ["DatabaseCache"]
