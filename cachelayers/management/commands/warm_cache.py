"""The command ``warm_cache``: an operator's door; the work is done in ``cachelayers.warming``."""

from __future__ import annotations

import json
import signal
import threading
import traceback
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from cachelayers.management.progress import (
    SECONDS_PER_MINUTE,
    NoProgress,
    Progress,
    describe_seconds,
    make_progress,
)
from cachelayers.management.warm_options import (
    TIME_LIMIT_SECONDS,
    choose_warmers,
    has_source,
    makes_no_difference,
    parse_base_url,
    parse_concurrency,
    parse_header_option,
    parse_rate,
    parse_shard,
    parse_time_limit,
    run_options,
    visitor_of,
    wanted_by,
)
from cachelayers.tasks import NoQueue, enqueue, option_arguments
from cachelayers.warming.addresses import own_host, site_origin
from cachelayers.warming.console import without_logged_pages
from cachelayers.warming.items import Item, PageItem
from cachelayers.warming.outcomes import Outcome, State
from cachelayers.warming.registry import Warmer, registered_warmers
from cachelayers.warming.run import Run, Summary
from cachelayers.warming.runs import LastRun, RunState, WarmerStatus, statuses_of

FAILURES_SHOWN = 10
# 128 + the signal's number, as shells have it.
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class Terminated(KeyboardInterrupt):
    """Somebody asked the process to end, as a container's manager does."""


class Command(BaseCommand):
    """Fill the cache ahead of its readers."""

    help = (
        "Run the warmers that apps registered (all, or those named), and render pages of the "
        "site from a sitemap or a list of URLs, so that readers find them in the cache; with "
        "--static hash the static files."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("names", nargs="*", metavar="NAME", help="Warmers to run.")
        add_sources(parser)
        add_pace(parser)
        add_variants(parser)
        add_results(parser)
        # For the process that a server starts: the run that it has claimed for it.
        parser.add_argument("--claimed", default="", help=SUPPRESS)

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
        except DatabaseError:  # before the first migrate there are no runs either
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
                number = enqueue(each.name, option_arguments(options))
            except NoQueue as error:
                raise CommandError(str(error)) from None
            if options["verbosity"]:
                self.stdout.write(f"Enqueued: {each.name} ({number})")

    # The run

    def _warm(self, options: dict[str, Any]) -> None:
        wanted = wanted_by(options)
        if not wanted:
            self._say_why_nothing(options)
            return
        self._progress: Progress = NoProgress()
        self._options = options
        run = Run(wanted, visitor_of(options), run_options(options), self)
        try:
            with without_logged_pages(), ended_by_sigterm():
                self._carry_out(run, options)
        except KeyboardInterrupt as error:
            self._report(run, options, is_interrupted=True)
            code = EXIT_TERMINATED if isinstance(error, Terminated) else EXIT_INTERRUPTED
            raise CommandError("Interrupted.", returncode=code) from None
        self._report(run, options)
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
            self._progress.finish()

    def begin(self, run: Run) -> None:
        """Say how much there is."""
        options, total = self._options, len(run.items)
        self._announce(run, options)
        if is_spoken(options):
            rest = f"; {run.summary.left_out:,} were done before" if options["resume"] else ""
            self.stdout.write(f"Warming {total:,} {'item' if total == 1 else 'items'}{rest}.")
            self.stdout.flush()
            self._progress = make_progress(self.stdout, total, verbosity=options["verbosity"])

    def advance(self, outcome: Outcome) -> None:
        """Show it."""
        self._progress.advance()
        if self._options["verbosity"] > 1 and is_spoken(self._options):
            self.stdout.write(f"{outcome.state.value}: {outcome.label}")
            self.stdout.flush()

    def warn(self, text: str) -> None:
        """Say it beside the results."""
        self.stderr.write(text)

    def _announce(self, run: Run, options: dict[str, Any]) -> None:
        if options["base_url"] is None and own_host() is None and any(map(is_path, run.items)):
            self.warn(
                f"ALLOWED_HOSTS names no host, so paths are rendered as {site_origin()}/...; "
                "Django's page cache keeps them under that host only. Give full URLs."
            )

    def _list_items(self, items: list[Item], options: dict[str, Any]) -> None:
        found = [(item.label, options["only_missing"] and item.is_warm()) for item in items]
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


# Options


def add_sources(parser: ArgumentParser) -> None:
    """Declare what can be warmed."""
    parser.add_argument("--list", action="store_true", help="List the warmers, and stop.")
    parser.add_argument(
        "--sitemap",
        metavar="URL",
        help="Render every page of this sitemap of the site, such as /sitemap.xml.",
    )
    parser.add_argument(
        "--urls",
        metavar="FILE",
        help="Render every URL of this file, one a line; - is the standard input.",
    )
    parser.add_argument(
        "--static",
        action="store_true",
        help="Hash every static file, so that each process finds the ids in the cache.",
    )
    parser.add_argument(
        "--due",
        action="store_true",
        help="Of the warmers with every=, only those whose last run is that old: for cron.",
    )
    parser.add_argument(
        "--enqueue",
        action="store_true",
        help="Put the warmers on the task queue (Django's tasks, or Celery), and stop.",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="Go on with what was interrupted, without what it has warmed.",
    )


def add_pace(parser: ArgumentParser) -> None:
    """Declare how much at once, and how quickly."""
    parser.add_argument(
        "--concurrency",
        type=parse_concurrency,
        default=1,
        metavar="N",
        help="How many items to warm at once, in threads (default: 1).",
    )
    parser.add_argument(
        "--rate", type=parse_rate, metavar="N", help="At most N items a second, such as 5 or 0.5."
    )
    parser.add_argument(
        "--time-limit",
        type=parse_time_limit,
        default=TIME_LIMIT_SECONDS,
        metavar="SECONDS",
        help="Give up an item, or a warmer, after so long (default: %(default)g; 0: never).",
    )
    parser.add_argument(
        "--shard",
        type=parse_shard,
        metavar="I/N",
        help="Only the I-th of N parts, for N machines that share the work.",
    )
    parser.add_argument(
        "--only-missing",
        action="store_true",
        help="Leave alone what is known to be in the cache.",
    )


def add_variants(parser: ArgumentParser) -> None:
    """Declare how pages are asked for."""
    parser.add_argument(
        "--base-url",
        type=parse_base_url,
        metavar="URL",
        help="Ask this server for the pages over HTTP, such as http://127.0.0.1:8000.",
    )
    parser.add_argument(
        "--language",
        action="append",
        default=[],
        metavar="CODE",
        help="Each page in this language, by Accept-Language; can be repeated.",
    )
    parser.add_argument(
        "--header",
        action="append",
        type=parse_header_option,
        default=[],
        metavar="'NAME: VALUE'",
        help="Each page with this header; repeated with another value, once for each.",
    )


def add_results(parser: ArgumentParser) -> None:
    """Declare how the end is told."""
    parser.add_argument(
        "--dry-run", action="store_true", help="List what would be warmed, and stop."
    )
    parser.add_argument("--json", action="store_true", help="Tell the result as JSON.")
    parser.add_argument(
        "--fail-on-error", action="store_true", help="Exit with 1 if an item failed."
    )


def refuse_combinations(options: dict[str, Any]) -> None:
    """Raise CommandError for options that contradict each other."""
    if options["due"] and has_source(options):
        raise CommandError(
            "--due is for warmers, which have an every=. Run --sitemap, --urls and --static"
            " in a command of their own."
        )
    if options["due"] and options["resume"]:
        raise CommandError("--due runs what was interrupted anyway. Leave out one of the two.")
    if options["enqueue"] and (has_source(options) or options["dry_run"] or options["resume"]):
        raise CommandError(
            "--enqueue is for warmers. Leave out --sitemap, --urls, --static, --dry-run and"
            " --resume."
        )


# Words


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


def is_spoken(options: dict[str, Any]) -> bool:
    """Whether the standard output is for people, who want to hear something."""
    return bool(options["verbosity"]) and not options["json"]


def is_path(item: Item) -> bool:
    """Whether an item is a page that was given without its host."""
    return isinstance(item, PageItem) and item.url.startswith("/")


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Have SIGTERM end the run as Ctrl-C does: with a summary, and with records."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_arguments: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
