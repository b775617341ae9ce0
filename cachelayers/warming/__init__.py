"""Filling the cache in advance, for apps' ``warmers`` modules and for ``warm_cache``.

Apps import `warmer` and the targets, which are loaded here. The rest is loaded at its first use, so
that ``from cachelayers import warmer`` stays cheap in every server process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cachelayers.utils.lazy_exports import lazy_exports
from cachelayers.warming.registry import RecallTarget, Target, Warmer, registered_warmers, warmer

if TYPE_CHECKING:
    from cachelayers.warming.clients import (
        Client,
        Server,
        Site,
        Variant,
        check_origin,
        make_variants,
        own_host,
        parse_header,
        site_origin,
        without_logged_pages,
    )
    from cachelayers.warming.django_task import run_in_worker
    from cachelayers.warming.items import Item, Outcome, State, WarmingError
    from cachelayers.warming.plan import Plan
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
        run_warmer,
        start_process,
        statuses_of,
        warmer_source,
        warmers_with_runs,
    )
else:
    __getattr__ = lazy_exports(
        __name__,
        {
            "clients": [
                "Client",
                "Server",
                "Site",
                "Variant",
                "check_origin",
                "make_variants",
                "own_host",
                "parse_header",
                "site_origin",
                "without_logged_pages",
            ],
            "django_task": ["run_in_worker"],  # needs the setting TASKS
            "items": ["Item", "Outcome", "State", "WarmingError"],
            "plan": ["Plan"],
            "run": ["Job", "Run", "RunOptions", "Shard", "Summary"],
            "runs": [
                "AlreadyRunning",
                "Kind",
                "LastRun",
                "RunState",
                "Source",
                "WarmerStatus",
                "forget_queued",
                "last_run_of",
                "last_runs",
                "record_queued",
                "run_warmer",
                "start_process",
                "statuses_of",
                "warmer_source",
                "warmers_with_runs",
            ],
        },
    )

__all__ = [
    "AlreadyRunning",
    "Client",
    "Item",
    "Job",
    "Kind",
    "LastRun",
    "Outcome",
    "Plan",
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
    "run_in_worker",
    "run_warmer",
    "site_origin",
    "start_process",
    "statuses_of",
    "warmer",
    "warmer_source",
    "warmers_with_runs",
    "without_logged_pages",
]
