"""The command ``warm_cache``: fills the cache in advance; `warming` does the work."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
import traceback
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError, OutputWrapper
from django.db import DatabaseError

from cachelayers.management.warm_options import (
    add_arguments,
    choose_warmers,
    client_of,
    jobs_of,
    makes_no_difference,
    read_time_limit,
    refuse_combinations,
    run_options,
    warms_static_files_alone,
)
from cachelayers.tasks import NoQueue, enqueue, option_arguments
from cachelayers.utils.switch import is_disabled
from cachelayers.warming import (
    Item,
    LastRun,
    Outcome,
    Run,
    RunState,
    State,
    Summary,
    Warmer,
    WarmerStatus,
    own_host,
    registered_warmers,
    site_origin,
    statuses_of,
    without_logged_pages,
)

FAILURES_SHOWN = 10
BAR_CELLS = 24
DRAW_SECONDS = 0.1
LINE_SECONDS = 5.0
SECONDS_PER_MINUTE = 60
ERASE_LINE = "\r\x1b[2K"
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
# 128 plus the signal's number, like a shell.
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class Progress:
    """Shows how far a run is: a bar on a terminal, elsewhere a line every few seconds."""

    def __init__(self, stream: OutputWrapper, total: int, *, is_bar: bool) -> None:
        self._stream = stream
        self._total = total
        self._is_bar = is_bar
        self._done = 0
        self._began = self._shown_at = time.monotonic()
        if is_bar:
            self._show()

    def advance(self) -> None:
        """Count an item, and show it unless the last time was just before."""
        self._done += 1
        pause = DRAW_SECONDS if self._is_bar else LINE_SECONDS
        if time.monotonic() - self._shown_at >= pause:
            self._show()

    def finish(self) -> None:
        """Leave the cursor at the start of a line; the run is over or interrupted."""
        if self._is_bar:
            self._show()
            self._stream.write("\n", ending="")
            self._stream.flush()

    def _show(self) -> None:
        self._shown_at = time.monotonic()
        total = max(1, self._total)
        text = f"{self._done:,}/{self._total:,}  {100 * self._done // total:3}%  {self._pace()}"
        if self._is_bar:
            filled = BAR_CELLS * self._done // total
            # One cell is left free: a full line would wrap and could not be erased.
            width = shutil.get_terminal_size().columns - 1
            text = f"[{'#' * filled:.<{BAR_CELLS}}] {text}"[:width]
            self._stream.write(ERASE_LINE + text, ending="")
        else:
            self._stream.write(text)
        self._stream.flush()

    def _pace(self) -> str:
        if not self._done:
            return "starting"
        seconds = max(time.monotonic() - self._began, 1e-6)
        left = describe_seconds((self._total - self._done) * seconds / self._done)
        return f"{self._done / seconds:,.1f}/s  {left} left"


def make_progress(stream: OutputWrapper, total: int, *, verbosity: int) -> Progress | None:
    """Return the progress display, or None if there is none for this verbosity."""
    if verbosity != 1 or not total:
        return None
    is_bar = stream.isatty() and os.environ.get("TERM") != "dumb"
    return Progress(stream, total, is_bar=is_bar)


class Terminated(KeyboardInterrupt):
    """The process got SIGTERM, for example from a container manager."""


class Command(BaseCommand):
    """Fills the cache in advance."""

    help = (
        "Run the warmers that apps registered (all, or those named), and render pages of the "
        "site from a sitemap or a list of URLs, so that readers find them in the cache; with "
        "--static hash the static files."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_arguments(parser)

    def handle(self, **options: Any) -> None:
        """List, enqueue, or warm."""
        refuse_combinations(options)
        read_time_limit(options)
        if options["list"]:
            self._list(choose_warmers(options), options)
            return
        if is_disabled() and not warms_static_files_alone(options):
            raise CommandError(
                "Caching is disabled (CACHELAYERS['ENABLED'] is False), so nothing would be stored."
            )
        if options["enqueue"]:
            self._enqueue(choose_warmers(options), options)
        else:
            self._warm(options)

    # The list

    def _list(self, warmers: list[Warmer], options: dict[str, Any]) -> None:
        try:
            statuses = statuses_of(warmers, str(options["shard"] or ""))
        except DatabaseError:  # before the first migrate there are no runs
            statuses = [WarmerStatus(warmer=each, last_run=None) for each in warmers]
        if options["json"]:
            self.stdout.write(json.dumps([status_as_json(each) for each in statuses]))
            return
        if not warmers:
            self.stdout.write(NO_WARMERS)
        width = max((len(each.name) for each in warmers), default=0)
        for status in statuses:
            each = status.warmer
            every = f"every {each.every_seconds:g} s" if each.every_seconds else "when asked"
            self.stdout.write(f"{each.name:<{width}}  {every:<14}  {each.defined_at}")
            if status.last_run is not None:
                self.stdout.write(f"{'':<{width}}  {describe_run(status.last_run)}")

    # The queue

    def _enqueue(self, warmers: list[Warmer], options: dict[str, Any]) -> None:
        if not warmers:
            self.stdout.write(NOTHING_DUE if options["due"] else NO_WARMERS)
        for each in warmers:
            try:
                shard = str(options["shard"] or "")
                number = enqueue(each.name, option_arguments(options), shard=shard)
            except NoQueue as error:
                raise CommandError(str(error)) from None
            if options["verbosity"]:
                self.stdout.write(f"Enqueued: {each.name} ({number})")

    # The run

    def _warm(self, options: dict[str, Any]) -> None:
        wanted = jobs_of(options)
        if not wanted:
            self._say_why_nothing(options)
            return
        self._progress: Progress | None = None
        self._options = options
        run = Run(wanted, client_of(options), run_options(options), self)
        code = None
        try:
            with without_logged_pages(), ended_by_sigterm():
                self._carry_out(run, options)
        except KeyboardInterrupt as error:
            code = EXIT_TERMINATED if isinstance(error, Terminated) else EXIT_INTERRUPTED
        # Reported here, where nothing refers to the interrupted frames any more: a view's cursor
        # would otherwise be closed after its connection, with a traceback on the screen.
        self._report(run, options, is_interrupted=code is not None)
        if code is not None:
            raise CommandError("Interrupted.", returncode=code)
        self._check_result(run, options)

    def _say_why_nothing(self, options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(Summary().as_json()))
        elif options["verbosity"]:
            known = registered_warmers()
            reason = NOTHING_DUE if options["due"] else NOTHING_INTERRUPTED
            self.stdout.write(reason if known or options["resume"] else NO_WARMERS)

    def _carry_out(self, run: Run, options: dict[str, Any]) -> None:
        if makes_no_difference(options):
            self.warn(NO_LOCALE_MIDDLEWARE)
        if options["dry_run"]:
            run.plan(keeps_records=False)
            self._announce(run, options)
            self._list_items(run.items, options)
            return
        try:
            run.carry_out()
        finally:
            if self._progress is not None:
                self._progress.finish()

    def begin(self, run: Run) -> None:
        options, total = self._options, len(run.items)
        self._announce(run, options)
        if is_spoken(options):
            rest = f"; {run.summary.left_out:,} were done before" if options["resume"] else ""
            self.stdout.write(f"Warming {total:,} {'item' if total == 1 else 'items'}{rest}.")
            self.stdout.flush()
            self._progress = make_progress(self.stdout, total, verbosity=options["verbosity"])

    def advance(self, outcome: Outcome) -> None:
        if self._progress is not None:
            self._progress.advance()
        if self._options["verbosity"] > 1 and is_spoken(self._options):
            self.stdout.write(f"{outcome.state.value}: {outcome.label}")
            self.stdout.flush()

    def warn(self, text: str) -> None:
        """Show a warning among the results."""
        self.stderr.write(text)

    def _announce(self, run: Run, options: dict[str, Any]) -> None:
        if options["base_url"] is None and own_host() is None and any(map(is_path, run.items)):
            self.warn(
                f"ALLOWED_HOSTS names no host, so paths are rendered as {site_origin()}/...; "
                "Django's page cache keeps them under that host only. Give full URLs."
            )

    def _list_items(self, items: list[Item], options: dict[str, Any]) -> None:
        found = [(item.label, options["only_missing"] and seems_warm(item)) for item in items]
        if options["json"]:
            self.stdout.write(json.dumps([{"label": one, "is_warm": warm} for one, warm in found]))
            return
        for label, warm in found:
            self.stdout.write(f"{'already warm' if warm else 'would warm'}: {label}")
        missing = sum(not warm for _, warm in found)
        self.stdout.write(f"{missing:,} would be warmed; nothing was rendered.")

    def _report(self, run: Run, options: dict[str, Any], *, is_interrupted: bool = False) -> None:
        summary = run.summary
        self._report_failures(summary, everything=options["verbosity"] > 1)
        if options["dry_run"]:
            return
        if options["json"]:
            self.stdout.write(json.dumps({**summary.as_json(), "interrupted": is_interrupted}))
        elif options["verbosity"]:
            self.stdout.write(describe_summary(summary))

    def _report_failures(self, summary: Summary, *, everything: bool) -> None:
        shown = summary.failures if everything else summary.failures[:FAILURES_SHOWN]
        for outcome in shown:
            self.stderr.write(f"failed: {outcome.label}: {outcome.reason}")
            if everything and outcome.error is not None:
                self.stderr.write("".join(traceback.format_exception(outcome.error)))
        if hidden := len(summary.failures) - len(shown):
            self.stderr.write(f"... and {hidden:,} more failed; --verbosity 2 shows all.")

    def _check_result(self, run: Run, options: dict[str, Any]) -> None:
        if run.is_refused:
            raise CommandError("Nothing was warmed: it is being warmed already.")
        if options["fail_on_error"] and run.summary.failures:
            raise CommandError(f"{len(run.summary.failures):,} could not be warmed.")


def is_spoken(options: dict[str, Any]) -> bool:
    """Tell whether the output is for people, and not silenced."""
    return bool(options["verbosity"]) and not options["json"]


def seems_warm(item: Item) -> bool:
    """Tell whether an item is warm, as far as it knows."""
    try:
        return item.is_warm()
    # Caches raise errors of their libraries, which have no common base class; warming reports them.
    except Exception:  # noqa: BLE001
        return False


def is_path(item: Item) -> bool:
    """Tell whether an item is a page that was given without its host."""
    return item.identity.startswith("page ") and item.label.startswith("/")


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Make SIGTERM end the run like Ctrl-C: with a summary and records."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_arguments: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


def describe_seconds(seconds: float) -> str:
    """Return ``8 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    minutes, rest = divmod(round(seconds), SECONDS_PER_MINUTE)
    hours, minutes = divmod(minutes, SECONDS_PER_MINUTE)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def describe_summary(summary: Summary) -> str:
    """Return ``5 warmed, 0 already warm, 0 failed, in 0.1 s.``"""
    counts = [f"{summary.counts[state]:,} {state.value}" for state in State]
    return f"{', '.join(counts)}, in {describe_duration(summary.seconds)}."


def describe_run(run: LastRun) -> str:
    """Return the last run as one line."""
    if run.state is RunState.QUEUED:
        return f"waits in the task queue since {run.queued_at:%Y-%m-%d %H:%M:%S} UTC"
    counts = f"{run.warmed:,} warmed, {run.already_warm:,} already warm, {run.failed:,} failed"
    if run.is_running:
        return f"is running ({run.percent}%): {counts}"
    taken = f", in {describe_duration(run.seconds)}" if run.seconds is not None else ""
    return f"{run.state.value}, begun {run.started_at:%Y-%m-%d %H:%M:%S} UTC: {counts}{taken}"


def describe_duration(seconds: float) -> str:
    """Return a duration, with tenths below a minute."""
    return f"{seconds:.1f} s" if seconds < SECONDS_PER_MINUTE else describe_seconds(seconds)


def status_as_json(status: WarmerStatus) -> dict[str, Any]:
    """Return a warmer and its last run, for programs."""
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
