"""Count what the caches of this process do. Written by every floor above, read by operators."""

from __future__ import annotations

from collections import Counter

from cachelayers.locks import ForkSafeLock


class Counts:
    """How often something happened, by cache alias and by name, since the process began."""

    def __init__(self) -> None:
        """Start at zero."""
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = ForkSafeLock()

    def add(self, alias: str, name: str, amount: int = 1) -> None:
        """Count ``amount`` more; only for what is rare, since it takes a lock."""
        with self._lock:
            self._counts[alias, name] += amount

    def of(self, alias: str, name: str) -> int:
        """Return how often ``name`` happened in ``alias``."""
        return self._counts[alias, name]


counts = Counts()
