"""Caches for faults that no real one shows on request."""

from typing import Any

from django.core.cache.backends.locmem import LocMemCache

from cachelayers.exceptions import CacheUnavailable


class DownCache(LocMemCache):
    """Swallows what is set, as a cache whose server is down, and tells operators so."""

    def set(self, *args: Any, **kwargs: Any) -> None:
        pass

    def clear(self) -> None:
        raise ConnectionRefusedError("nobody listens on port 1")

    def count_entries(self, **kwargs: Any) -> int:
        raise CacheUnavailable("the database is down")

    def delete_expired(self) -> int:
        raise CacheUnavailable("the database is down")


class PatternCache(LocMemCache):
    """Remembers the patterns of keys it was asked to delete."""

    patterns: list[str] = []

    def delete_pattern(self, pattern: str) -> int:
        self.patterns.append(pattern)
        return 3
