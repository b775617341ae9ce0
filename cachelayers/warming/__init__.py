"""Filling the cache in advance, for apps' ``warmers`` modules and for ``warm_cache``.

Apps import `warmer` and the targets, which are loaded here. The rest is loaded at its first use, so
that ``from cachelayers import warmer`` stays cheap in every server process.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cachelayers.warming.registry import RecallTarget, Target, Warmer, registered_warmers, warmer

if TYPE_CHECKING:
    from cachelayers.warming.addresses import (
        Variant,
        make_variants,
        own_host,
        parse_header,
        site_origin,
    )
    from cachelayers.warming.background import run_warmer, start_process
    from cachelayers.warming.clients import Client, Server, Site, check_origin, without_logged_pages
    from cachelayers.warming.items import Item, PageItem
    from cachelayers.warming.outcomes import Outcome, State, WarmingError
    from cachelayers.warming.pool import PoolOptions
    from cachelayers.warming.run import Job, Run, RunOptions, Shard, Summary
    from cachelayers.warming.runs import (
        AlreadyRunning,
        Kind,
        LastRun,
        RunState,
        Source,
        WarmerStatus,
        forget_queued,
        last_run_of,
        last_runs,
        record_queued,
        statuses_of,
        warmer_source,
        warmers_with_runs,
    )

__all__ = [
    "AlreadyRunning",
    "Client",
    "Item",
    "Job",
    "Kind",
    "LastRun",
    "Outcome",
    "PageItem",
    "PoolOptions",
    "RecallTarget",
    "Run",
    "RunOptions",
    "RunState",
    "Server",
    "Shard",
    "Site",
    "Source",
    "State",
    "Summary",
    "Target",
    "Variant",
    "Warmer",
    "WarmerStatus",
    "WarmingError",
    "check_origin",
    "forget_queued",
    "last_run_of",
    "last_runs",
    "make_variants",
    "own_host",
    "parse_header",
    "record_queued",
    "registered_warmers",
    "run_warmer",
    "site_origin",
    "start_process",
    "statuses_of",
    "warmer",
    "warmer_source",
    "warmers_with_runs",
    "without_logged_pages",
]

_MODULES = {
    "AlreadyRunning": "cachelayers.warming.runs",
    "Client": "cachelayers.warming.clients",
    "Item": "cachelayers.warming.items",
    "Job": "cachelayers.warming.run",
    "Kind": "cachelayers.warming.runs",
    "LastRun": "cachelayers.warming.runs",
    "PoolOptions": "cachelayers.warming.pool",
    "Outcome": "cachelayers.warming.outcomes",
    "PageItem": "cachelayers.warming.items",
    "Run": "cachelayers.warming.run",
    "RunOptions": "cachelayers.warming.run",
    "RunState": "cachelayers.warming.runs",
    "Server": "cachelayers.warming.clients",
    "Shard": "cachelayers.warming.run",
    "Site": "cachelayers.warming.clients",
    "Source": "cachelayers.warming.runs",
    "State": "cachelayers.warming.outcomes",
    "Summary": "cachelayers.warming.run",
    "Variant": "cachelayers.warming.addresses",
    "WarmerStatus": "cachelayers.warming.runs",
    "WarmingError": "cachelayers.warming.outcomes",
    "check_origin": "cachelayers.warming.clients",
    "forget_queued": "cachelayers.warming.runs",
    "last_run_of": "cachelayers.warming.runs",
    "last_runs": "cachelayers.warming.runs",
    "make_variants": "cachelayers.warming.addresses",
    "record_queued": "cachelayers.warming.runs",
    "own_host": "cachelayers.warming.addresses",
    "parse_header": "cachelayers.warming.addresses",
    "run_warmer": "cachelayers.warming.background",
    "site_origin": "cachelayers.warming.addresses",
    "start_process": "cachelayers.warming.background",
    "statuses_of": "cachelayers.warming.runs",
    "warmer_source": "cachelayers.warming.runs",
    "warmers_with_runs": "cachelayers.warming.runs",
    "without_logged_pages": "cachelayers.warming.clients",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
