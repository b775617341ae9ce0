"""What ``warm_cache`` says of runs, to people and to programs."""

from __future__ import annotations

from typing import Any

from cachelayers.management.progress import SECONDS_PER_MINUTE, describe_seconds
from cachelayers.warming.outcomes import State
from cachelayers.warming.run import Summary
from cachelayers.warming.runs import LastRun, RunState, WarmerStatus

NO_WARMERS = (
    "No warmer is registered. Decorate a function with @warmer in a module warmers.py of an "
    "app in INSTALLED_APPS."
)
NOTHING_DUE = "Nothing is due."
NOTHING_INTERRUPTED = "Nothing was interrupted."
NO_LOCALE_MIDDLEWARE = (
    "LocaleMiddleware is not in MIDDLEWARE, so --language makes no difference, unless a"
    " middleware of the site's own reads Accept-Language."
)


def describe_summary(summary: Summary) -> str:
    """``5 warmed, 0 already warm, 0 failed, in 0.1 s.``"""
    counts = [f"{summary.counts[state]:,} {state.value}" for state in State]
    return f"{', '.join(counts)}, in {describe_duration(summary.seconds)}."


def describe_run(run: LastRun) -> str:
    """The last run in a line."""
    if run.state is RunState.QUEUED:
        return f"waits in the task queue since {run.queued_at:%Y-%m-%d %H:%M:%S} UTC"
    counts = f"{run.warmed:,} warmed, {run.already_warm:,} already warm, {run.failed:,} failed"
    if run.is_running:
        return f"is running ({run.percent}%): {counts}"
    taken = f", in {describe_duration(run.seconds)}" if run.seconds is not None else ""
    return f"{run.state.value}, begun {run.started_at:%Y-%m-%d %H:%M:%S} UTC: {counts}{taken}"


def describe_duration(seconds: float) -> str:
    """With a tenth, as long as it is less than a minute."""
    return f"{seconds:.1f} s" if seconds < SECONDS_PER_MINUTE else describe_seconds(seconds)


def status_as_json(status: WarmerStatus) -> dict[str, Any]:
    """A warmer and its last run, for programs."""
    run = status.last_run
    return {
        "name": status.warmer.name,
        "every": status.warmer.every_seconds,
        "defined_at": status.warmer.defined_at,
        "is_due": status.is_due(),
        "last_run": None
        if run is None
        else {
            "state": run.state.value,
            "started_at": run.started_at.isoformat() if run.started_at else None,
            "seconds": run.seconds,
            "total": run.total,
            "warmed": run.warmed,
            "already_warm": run.already_warm,
            "failed": run.failed,
            "failures": [{"label": one.label, "reason": one.reason} for one in run.failures],
        },
    }
