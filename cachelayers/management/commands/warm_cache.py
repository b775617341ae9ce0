"""The command ``warm_cache``: an operator's door; the work is done in ``cachelayers.warming``."""

import sys
import time
import traceback
from argparse import ArgumentParser, ArgumentTypeError
from collections import Counter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from cachelayers.management.progress import (
    SECONDS_PER_MINUTE,
    describe_seconds,
    make_progress,
)
from cachelayers.suggestions import unknown_name
from cachelayers.warming.addresses import locate, own_host, site_origin
from cachelayers.warming.console import without_logged_pages
from cachelayers.warming.crew import warm_items
from cachelayers.warming.items import Item, PageItem
from cachelayers.warming.outcomes import Outcome, State, WarmingError
from cachelayers.warming.plan import Plan
from cachelayers.warming.registry import Warmer, registered_warmers
from cachelayers.warming.site import Site

MAX_CONCURRENCY = 64
FAILURES_SHOWN = 10
STANDARD_INPUT = "-"
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class Summary:
    """Counts outcomes and keeps the failures."""

    def __init__(self) -> None:
        self.counts: Counter[State] = Counter()
        self.failures: list[Outcome] = []
        self._started_at = time.monotonic()

    def add(self, outcome: Outcome) -> None:
        """Count one."""
        self.counts[outcome.state] += 1
        if outcome.state is State.FAILED:
            self.failures.append(outcome)

    def __str__(self) -> str:
        counts = [f"{self.counts[state]:,} {state.value}" for state in State]
        seconds = time.monotonic() - self._started_at
        taken = f"{seconds:.1f} s" if seconds < SECONDS_PER_MINUTE else describe_seconds(seconds)
        return f"{', '.join(counts)}, in {taken}."


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
            "--concurrency",
            type=parse_concurrency,
            default=1,
            metavar="N",
            help="How many items to warm at once, in threads (default: 1).",
        )
        parser.add_argument(
            "--only-missing",
            action="store_true",
            help="Leave alone what is known to be in the cache.",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="List what would be warmed, and stop."
        )
        parser.add_argument(
            "--fail-on-error", action="store_true", help="Exit with 1 if an item failed."
        )

    def handle(self, **options: Any) -> None:
        """Plan, warm, report."""
        warmers = choose_warmers(options)
        if options["list"]:
            self._list(warmers)
            return
        summary = Summary()
        try:
            with without_logged_pages():
                self._run(warmers, options, summary)
        except KeyboardInterrupt:
            self._report(summary, options)
            raise CommandError("Interrupted.", returncode=EXIT_INTERRUPTED) from None
        self._report(summary, options)
        if options["fail_on_error"] and summary.failures:
            raise CommandError(f"{len(summary.failures):,} could not be warmed.")

    def _list(self, warmers: list[Warmer]) -> None:
        if not warmers:
            self.stdout.write(NO_WARMERS)
        width = max((len(each.name) for each in warmers), default=0)
        for each in warmers:
            every = f"every {each.every_seconds:g} s" if each.every_seconds else "when asked"
            self.stdout.write(f"{each.name:<{width}}  {every:<14}  {each.defined_at}")

    def _run(self, warmers: list[Warmer], options: dict[str, Any], summary: Summary) -> None:
        plan = self._plan(warmers, options, summary)
        if options["dry_run"]:
            self._list_items(plan.items, only_missing=options["only_missing"])
        else:
            self._warm(plan.items, options, summary)

    def _plan(self, warmers: list[Warmer], options: dict[str, Any], summary: Summary) -> Plan:
        plan = Plan(Site())
        try:
            for each in warmers:
                plan.add_warmer(each)
            if options["sitemap"] is not None:
                plan.add_sitemap(check_sitemap(options["sitemap"]))
            if options["urls"] is not None:
                plan.add_url_lines(read_lines(options["urls"]), name=options["urls"])
            if options["static"]:
                plan.add_static_files()
        finally:
            for outcome in plan.failures:
                summary.add(outcome)
        self._announce(plan, options)
        return plan

    def _announce(self, plan: Plan, options: dict[str, Any]) -> None:
        if not has_source(options) and not registered_warmers():
            self.stdout.write(NO_WARMERS)
        if own_host() is None and any(is_path(item) for item in plan.items):
            self.stderr.write(
                f"ALLOWED_HOSTS names no host, so paths are rendered as {site_origin()}/...; "
                "Django's page cache keeps them under that host only. Give full URLs."
            )

    def _list_items(self, items: list[Item], *, only_missing: bool) -> None:
        missing = 0
        for item in items:
            is_warm = only_missing and item.is_warm()
            missing += not is_warm
            self.stdout.write(f"{'already warm' if is_warm else 'would warm'}: {item.label}")
        self.stdout.write(f"{missing:,} would be warmed; nothing was rendered.")

    def _warm(self, items: list[Item], options: dict[str, Any], summary: Summary) -> None:
        if options["verbosity"]:
            self.stdout.write(f"Warming {len(items):,} {'item' if len(items) == 1 else 'items'}.")
            self.stdout.flush()
        progress = make_progress(self.stdout, len(items), verbosity=options["verbosity"])

        def take(outcome: Outcome) -> None:
            summary.add(outcome)
            progress.advance()
            if options["verbosity"] > 1:
                self.stdout.write(f"{outcome.state.value}: {outcome.label}")
                self.stdout.flush()

        try:
            warm_items(
                items,
                concurrency=options["concurrency"],
                only_missing=options["only_missing"],
                on_outcome=take,
            )
        finally:
            progress.finish()

    def _report(self, summary: Summary, options: dict[str, Any]) -> None:
        everything = options["verbosity"] > 1
        shown = summary.failures if everything else summary.failures[:FAILURES_SHOWN]
        for outcome in shown:
            self.stderr.write(f"failed: {outcome.label}: {outcome.reason}")
            if everything and outcome.error is not None:
                self.stderr.write("".join(traceback.format_exception(outcome.error)))
        if hidden := len(summary.failures) - len(shown):
            self.stderr.write(f"... and {hidden:,} more failed; --verbosity 2 shows all.")
        if options["verbosity"] and not options["dry_run"]:
            self.stdout.write(str(summary))


NO_WARMERS = (
    "No warmer is registered. Decorate a function with @warmer in a module warmers.py of an "
    "app in INSTALLED_APPS."
)


def choose_warmers(options: dict[str, Any]) -> list[Warmer]:
    """The warmers that are named; all of them where nothing at all is named."""
    known = registered_warmers()
    names = list(dict.fromkeys(options["names"]))
    for name in names:
        if name not in known:
            raise CommandError(unknown_name("warmer", name, known))
    if names or (has_source(options) and not options["list"]):
        return [known[name] for name in names]
    return list(known.values())


def has_source(options: dict[str, Any]) -> bool:
    """Whether pages are named by a sitemap or a file, or static files are asked for."""
    return options["sitemap"] is not None or options["urls"] is not None or options["static"]


def parse_concurrency(text: str) -> int:
    """A number of threads; raises ArgumentTypeError with the bounds."""
    if not text.isdecimal() or not 1 <= int(text) <= MAX_CONCURRENCY:
        raise ArgumentTypeError(f"{text!r} is no number from 1 to {MAX_CONCURRENCY}")
    return int(text)


def check_sitemap(url: str) -> str:
    """The URL, if it may be the site's; raises CommandError otherwise."""
    try:
        locate(url)
    except WarmingError as error:
        raise CommandError(f"--sitemap {url} {error}.") from None
    return url


def read_lines(name: str) -> list[str]:
    """The lines of a file, or of the standard input where the name is ``-``."""
    if name == STANDARD_INPUT:
        return sys.stdin.read().splitlines()
    try:
        return Path(name).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--urls {name} cannot be read: {error}") from None


def is_path(item: Item) -> bool:
    """Whether an item is a page that was given without its host."""
    return isinstance(item, PageItem) and item.label.startswith("/")
