"""What ``warm_cache`` was asked for: checked, and put into the words of ``warming``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import DatabaseError

from cachelayers.suggestions import unknown_name
from cachelayers.warming.crew import Order
from cachelayers.warming.outcomes import WarmingError
from cachelayers.warming.registry import Warmer, registered_warmers
from cachelayers.warming.run import RunOptions, Wanted
from cachelayers.warming.runs import Kind, RunState, Source, last_run_of, statuses_of, warmer_source
from cachelayers.warming.server import Server
from cachelayers.warming.site import Site
from cachelayers.warming.variants import Variant, make_variants
from cachelayers.warming.visits import Visitor

STANDARD_INPUT = "-"
LOCALE_MIDDLEWARE = "django.middleware.locale.LocaleMiddleware"


def run_options(options: dict[str, Any]) -> RunOptions:
    """How the run is to go."""
    return RunOptions(
        order=Order(
            concurrency=options["concurrency"],
            only_missing=options["only_missing"],
            rate=options["rate"],
            time_limit=options["time_limit"] or None,
        ),
        variants=variants_of(options),
        shard=options["shard"],
        resume=options["resume"],
        token=options["claimed"],
    )


def variants_of(options: dict[str, Any]) -> list[Variant]:
    """The variants of each page; raises CommandError for a language that the site has not."""
    known = [code for code, _ in settings.LANGUAGES]
    for code in options["language"]:
        if code not in known:
            raise CommandError(unknown_name("language in LANGUAGES", code, known))
    return make_variants(options["language"], options["header"])


def makes_no_difference(options: dict[str, Any]) -> bool:
    """Tell whether languages are asked for by a header that nothing reads."""
    return bool(options["language"]) and LOCALE_MIDDLEWARE not in settings.MIDDLEWARE


def visitor_of(options: dict[str, Any]) -> Visitor:
    """Who asks for pages: in this process, or over HTTP."""
    if options["base_url"] is None:
        return Site()
    return Server(options["base_url"], timeout=options["time_limit"] or None)


def wanted_by(options: dict[str, Any]) -> list[Wanted]:
    """Everything that is to be warmed, in its order."""
    shard = str(options["shard"] or "")
    wanted = [
        Wanted(source=warmer_source(each.name, shard), add_to=partial(add_warmer, each))
        for each in choose_warmers(options)
    ]
    wanted += list(other_sources(options, shard))
    if options["resume"]:
        return [each for each in wanted if was_interrupted(each.source)]
    return wanted


def add_warmer(warmer: Warmer, plan: Any) -> None:
    """Have a plan run a warmer."""
    plan.add_warmer(warmer)


def other_sources(options: dict[str, Any], shard: str) -> Iterable[Wanted]:
    """The sitemap, the list of URLs, the static files."""
    if (url := options["sitemap"]) is not None:
        check_sitemap(url, visitor_of(options))
        yield Wanted(
            source=Source(kind=Kind.SITEMAP, name=url, shard=shard),
            add_to=lambda plan: plan.add_sitemap(url),
        )
    if (name := options["urls"]) is not None:
        lines = read_lines(name)
        yield Wanted(
            source=Source(kind=Kind.URLS, name=name, shard=shard),
            add_to=lambda plan: plan.add_url_lines(lines, name=name),
        )
    if options["static"]:
        yield Wanted(
            source=Source(kind=Kind.STATIC, name="", shard=shard),
            add_to=lambda plan: plan.add_static_files(),
        )


def choose_warmers(options: dict[str, Any]) -> list[Warmer]:
    """The warmers that are named; all of them where nothing at all is named."""
    known = registered_warmers()
    names = list(dict.fromkeys(options["names"]))
    for name in names:
        if name not in known:
            raise CommandError(unknown_name("warmer", name, known))
    chosen = [known[name] for name in names]
    if not names and (options["list"] or not has_source(options)):
        chosen = list(known.values())
    return choose_due(chosen, options) if options["due"] else chosen


def choose_due(warmers: list[Warmer], options: dict[str, Any]) -> list[Warmer]:
    """Those whose last run, as the database has it, is ``every`` seconds old."""
    for each in warmers:
        if options["names"] and each.every_seconds is None:
            raise CommandError(
                f"The warmer {each.name!r} is never due: it has no every=. Give it one in its"
                " @warmer, or leave out --due."
            )
    try:
        statuses = statuses_of(warmers, str(options["shard"] or ""))
    except DatabaseError as error:
        raise CommandError(f"It cannot be known what is due: {error}. {CURE}") from None
    return [each.warmer for each in statuses if each.is_due()]


def was_interrupted(source: Source) -> bool:
    """Tell whether the last run of a source left something to resume."""
    try:
        run = last_run_of(source)
    except DatabaseError as error:
        raise CommandError(f"It cannot be known what was interrupted: {error}. {CURE}") from None
    return run is not None and run.state in {RunState.INTERRUPTED, RunState.LOST}


CURE = "If the table was never made, run manage.py migrate"


def has_source(options: dict[str, Any]) -> bool:
    """Whether pages are named by a sitemap or a file, or static files are asked for."""
    return options["sitemap"] is not None or options["urls"] is not None or options["static"]


def check_sitemap(url: str, visitor: Visitor) -> None:
    """Raise CommandError for a sitemap that cannot be the site's."""
    try:
        visitor.locate(url)
    except WarmingError as error:
        raise CommandError(f"--sitemap {url} {error}.") from None


def read_lines(name: str) -> list[str]:
    """The lines of a file, or of the standard input where the name is ``-``."""
    try:
        if name == STANDARD_INPUT:
            return sys.stdin.read().splitlines()
        return Path(name).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--urls {name} cannot be read: {error}") from None


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
