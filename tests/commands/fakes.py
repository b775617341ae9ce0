"""Caches for faults that real ones do not have on request."""

from typing import Any

from django.core.cache.backends.locmem import LocMemCache

from cachelayers.exceptions import CacheUnavailable


class DownCache(LocMemCache):
    """Ignores what is set, like a cache whose server is down, and reports that to operators."""

    def set(self, *args: Any, **kwargs: Any) -> None:
        pass

    def clear(self) -> None:
        raise ConnectionRefusedError("nobody listens on port 1")

    def count_entries(self, **kwargs: Any) -> int:
        raise CacheUnavailable("the database is down")

    def delete_expired(self) -> int:
        raise CacheUnavailable("the database is down")


class PatternCache(LocMemCache):
    """Records the key patterns that it was asked to delete."""

    patterns: list[str] = []

    def delete_pattern(self, pattern: str) -> int:
        self.patterns.append(pattern)
        return 3
