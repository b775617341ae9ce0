"""The command ``warm_cache``: fills the cache in advance; `warming` does the work."""

from __future__ import annotations

import json
import signal
import threading
import traceback
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from cachelayers.management.progress import (
    NO_LOCALE_MIDDLEWARE,
    NO_WARMERS,
    NOTHING_DUE,
    NOTHING_INTERRUPTED,
    Progress,
    describe_run,
    describe_summary,
    make_progress,
    status_as_json,
)
from cachelayers.management.warm_options import (
    add_arguments,
    choose_warmers,
    client_of,
    jobs_of,
    makes_no_difference,
    refuse_combinations,
    run_options,
)
from cachelayers.tasks import NoQueue, enqueue, option_arguments
from cachelayers.warming import (
    Item,
    Outcome,
    Run,
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
# 128 plus the signal's number, like a shell.
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


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
        if options["list"]:
            self._list(choose_warmers(options), options)
        elif options["enqueue"]:
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
        if run.refused and run.is_empty:
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
