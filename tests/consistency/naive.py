"""Rules that look right and are not, to see the checker find them out."""

from __future__ import annotations

import time
from typing import Any

from cachelayers.invalidation import dialects, incarnations
from cachelayers.invalidation.capture import Capture
from cachelayers.invalidation.log import Dependency, log_of

# A slow reader meets the race more often; the right rule does not care.
SLOW_READER_SECONDS = 0.01


def switch_in(rule: str) -> None:
    """Replace the rule of this process by a naive one; "ours" leaves it as it is."""
    {"ours": keep, "late": take_position_late, "ids": take_ids_for_positions}[rule]()


def keep() -> None:
    """Change nothing."""


def take_position_late() -> None:
    """Store with the position at the end of the compute: the stale-set race."""
    dependencies = Capture.dependencies

    def dependencies_now(self: Capture) -> list[Dependency]:
        time.sleep(SLOW_READER_SECONDS)
        return [
            Dependency(one.database, *log_of(one.database).refresh(), one.tags)
            for one in dependencies(self)
        ]

    Capture.dependencies = dependencies_now  # type: ignore[method-assign]


def take_ids_for_positions() -> None:
    """Take ids for positions on PostgreSQL, which commits them out of order."""

    class IdDialect(dialects.PostgresDialect):
        position = "id"
        watermark = dialects.Dialect.watermark
        new = dialects.Dialect.new
        all_from_watermark = dialects.Dialect.all_from_watermark
        new_since = dialects.Dialect.new_since
        unseen = dialects.Dialect.unseen
        is_beyond = dialects.Dialect.is_beyond

    def dialect_for(vendor: str, late_commit_seconds: float, **options: Any) -> Any:
        return IdDialect() if vendor == "postgresql" else dialects.Dialect()

    vars(incarnations)["dialect_for"] = dialect_for
