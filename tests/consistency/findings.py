"""The findings of one process of the checker."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Found:
    """The findings of one reader."""

    hits: int = 0
    recalls: int = 0
    stale: list[list[Any]] = field(default_factory=list)  # older than the value read before
    unseen: list[list[Any]] = field(default_factory=list)  # newer than the value read after
    leaked: list[list[Any]] = field(default_factory=list)  # another tenant's

    def judge(self, what: list[Any], before: int, value: int, after: int, is_hit: bool) -> None:
        """Count a value, and whether it is right."""
        self.recalls += 1
        self.hits += is_hit
        if value < before:
            self.stale.append([*what, before, value, is_hit])
        if value > after:
            self.unseen.append([*what, value, after, is_hit])

    def judge_same(self, what: list[Any], now: Any, value: Any, is_hit: bool) -> None:
        """Count a value that has to be the present one."""
        self.recalls += 1
        self.hits += is_hit
        if value != now:
            self.stale.append([*what, now, value, is_hit])

    def add(self, other: Found) -> None:
        """Add another process's findings."""
        self.hits += other.hits
        self.recalls += other.recalls
        self.stale += other.stale
        self.unseen += other.unseen
        self.leaked += other.leaked

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
