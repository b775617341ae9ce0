"""The names of contestants and workloads, and what a process is told. Needs no settings."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Any

VARIABLE = "CACHELAYERS_HIT_RATE"
OURS, CACHALOT, CACHEOPS = "ours", "cachalot", "cacheops"
HAND_WRITTEN, NO_CACHE, ORACLE, NEVER = "hand-written", "no cache", "oracle", "never invalidated"
CONTESTANTS = (OURS, CACHALOT, CACHEOPS, HAND_WRITTEN, ORACLE)
CHOICES = (*CONTESTANTS, NO_CACHE, NEVER)  # the last two show that the comparison is right
NEEDS = {CACHALOT: "cachalot", CACHEOPS: "cacheops"}  # a package; each changes the whole ORM
BLOG, SHOP, TENANTS = "blog", "shop", "tenants"
WORKLOADS = (BLOG, SHOP, TENANTS)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What one process measures: contestants that do not disturb each other, on a new database."""

    contestants: list[str]
    workload: str
    database: str
    writes: int  # of 100 requests
    requests: int
    settings: dict[str, Any]  # of the database
    folder: str  # for files
    redis: str = ""  # its URL

    def dumped(self) -> str:
        return json.dumps(asdict(self))


def published_task() -> Task:
    """Return what this process was told."""
    return Task(**json.loads(os.environ[VARIABLE]))
