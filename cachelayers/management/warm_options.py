"""The options of ``warm_cache``: declaration, parsing and checks."""

from __future__ import annotations

import sys
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import DatabaseError

from cachelayers.durations import seconds_of_option
from cachelayers.utils.suggestions import unknown_name
from cachelayers.warming import (
    Client,
    Job,
    Kind,
    Plan,
    RunOptions,
    RunState,
    Server,
    Shard,
    Site,
    Source,
    Variant,
    Warmer,
    WarmingError,
    check_origin,
    last_run_of,
    make_variants,
    parse_header,
    registered_warmers,
    statuses_of,
    warmer_source,
)

MAX_CONCURRENCY = 64
MAX_SHARDS = 1000
TIME_LIMIT_SECONDS = 300.0


def add_arguments(parser: ArgumentParser) -> None:
    add, add_flag = parser.add_argument, partial(parser.add_argument, action="store_true")
    add("names", nargs="*", metavar="NAME", help="Warmers to run.")
    add_flag("--list", help="List the warmers, and stop.")
    add(
        "--sitemap",
        metavar="URL",
        help="Render every page of this sitemap of the site, such as /sitemap.xml.",
    )
    add(
        "--urls",
        metavar="FILE",
        help="Render every URL of this file, one a line; - is the standard input.",
    )
    add_flag(
        "--static", help="Hash every static file, so that each process finds the ids in the cache."
    )
    add_flag(
        "--due", help="Of the warmers with every=, only those whose last run is that old: for cron."
    )
    add_flag(
        "--enqueue",
        help="Put the warmers on the task queue (Django's tasks, or Celery), and stop.",
    )
    add_flag("--resume", help="Go on with what was interrupted, without what it has warmed.")
    add(
        "--concurrency",
        type=parse_concurrency,
        default=1,
        metavar="N",
        help="How many items to warm at once, in threads (default: 1).",
    )
    add("--rate", type=parse_rate, metavar="N", help="At most N items a second, such as 5 or 0.5.")
    add(
        "--time-limit",
        type=parse_time_limit,
        default=TIME_LIMIT_SECONDS,
        metavar="TIME",
        help="Give up an item, or a warmer, after so long, as in 90, 90s or 5m (default:"
        " %(default)g; 0: never).",
    )
    add(
        "--shard",
        type=parse_shard,
        metavar="I/N",
        help="Only the I-th of N parts, for N machines that share the work.",
    )
    add_flag("--only-missing", help="Leave alone what is known to be in the cache.")
    add(
        "--base-url",
        type=parsed_by(check_origin),
        metavar="URL",
        help="Ask this server for the pages over HTTP, such as http://127.0.0.1:8000.",
    )
    add(
        "--language",
        action="append",
        default=[],
        metavar="CODE",
        help="Each page in this language, by Accept-Language; can be repeated.",
    )
    add(
        "--header",
        action="append",
        type=parsed_by(parse_header),
        default=[],
        metavar="'NAME: VALUE'",
        help="Each page with this header; repeated with another value, once for each.",
    )
    add_flag("--dry-run", help="List what would be warmed, and stop.")
    add_flag("--json", help="Tell the result as JSON.")
    add_flag("--fail-on-error", help="Exit with 1 if an item failed.")
    # For the process that a server starts: the run that the server has claimed for it.
    add("--claimed", default="", help=SUPPRESS)


# Single values, for argparse


def parse_concurrency(text: str) -> int:
    """Return a number of threads. ArgumentTypeError with the bounds."""
    if not is_whole(text) or not 1 <= int(text) <= MAX_CONCURRENCY:
        raise ArgumentTypeError(f"{text!r} is no number from 1 to {MAX_CONCURRENCY}")
    return int(text)


def parse_rate(text: str) -> float:
    """Return items per second."""
    number = parse_number(text)
    if not 0 < number < float("inf"):
        raise ArgumentTypeError(f"{text!r} is no number above 0 of items a second")
    return number


def parse_time_limit(given: Any) -> float:
    """Return seconds, 0 for none."""
    seconds = seconds_of_option(given)
    if not 0 <= seconds < float("inf"):
        raise ArgumentTypeError(
            f"{given!r} is no number of seconds; 0 is no limit, and '5m' is a text with a unit"
        )
    return seconds


def read_time_limit(options: dict[str, Any]) -> None:
    """Convert the time limit, which `call_command` passes as it is given."""
    try:
        options["time_limit"] = parse_time_limit(options["time_limit"])
    except ArgumentTypeError as error:
        raise CommandError(f"--time-limit: {error}") from error


def parse_number(text: str) -> float:
    """Return a number; NaN, which no bounds accept, for other texts."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def parse_shard(text: str) -> Shard:
    """Parse ``2/3``: the second of three shards."""
    number, _, of = text.partition("/")
    if not (is_whole(number) and is_whole(of) and 1 <= int(number) <= int(of) <= MAX_SHARDS):
        raise ArgumentTypeError(
            f"{text!r} is no shard such as 1/3, with at most {MAX_SHARDS} shards"
        )
    return Shard(number=int(number), of=int(of))


def parsed_by(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a parser whose ValueErrors argparse shows with their reason."""

    def parse_option(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None

    return parse_option


def is_whole(text: str) -> bool:
    """Tell whether a text is a whole number in plain digits, of a sensible length."""
    return text.isascii() and text.isdecimal() and len(text) <= 9


STANDARD_INPUT = "-"
LOCALE_MIDDLEWARE = "django.middleware.locale.LocaleMiddleware"


def run_options(options: dict[str, Any]) -> RunOptions:
    return RunOptions(
        concurrency=options["concurrency"],
        only_missing=options["only_missing"],
        rate=options["rate"],
        time_limit=options["time_limit"] or None,
        variants=variants_of(options),
        shard=options["shard"],
        resume=options["resume"],
        token=options["claimed"],
    )


def variants_of(options: dict[str, Any]) -> list[Variant]:
    """Return the variants of each page. CommandError for a language that the site lacks."""
    known = [code for code, _ in settings.LANGUAGES]
    for code in options["language"]:
        if code not in known:
            raise CommandError(unknown_name("language in LANGUAGES", code, known))
    return make_variants(options["language"], options["header"])


def makes_no_difference(options: dict[str, Any]) -> bool:
    """Tell whether languages are requested by a header that nothing reads."""
    return bool(options["language"]) and LOCALE_MIDDLEWARE not in settings.MIDDLEWARE


def client_of(options: dict[str, Any]) -> Client:
    """Return the client for pages: in this process, or over HTTP."""
    if options["base_url"] is None:
        return Site()
    return Server(options["base_url"], timeout=options["time_limit"] or None)


def jobs_of(options: dict[str, Any]) -> list[Job]:
    """Return the jobs for all chosen sources, in order."""
    shard = str(options["shard"] or "")
    wanted = [
        Job(source=warmer_source(each.name, shard), add_to=partial(Plan.add_warmer, warmer=each))
        for each in choose_warmers(options)
    ]
    wanted += list(other_sources(options, shard))
    if options["resume"]:
        return [each for each in wanted if was_interrupted(each.source)]
    return wanted


def other_sources(options: dict[str, Any], shard: str) -> Iterable[Job]:
    """Return the jobs for the sitemap, the list of URLs and the static files."""
    if (url := options["sitemap"]) is not None:
        check_sitemap(url, client_of(options))
        yield Job(
            source=Source(kind=Kind.SITEMAP, name=url, shard=shard),
            add_to=lambda plan: plan.add_sitemap(url),
        )
    if (name := options["urls"]) is not None:
        lines = read_lines(name)
        yield Job(
            source=Source(kind=Kind.URLS, name=name, shard=shard),
            add_to=lambda plan: plan.add_url_lines(lines, name=name),
        )
    if options["static"]:
        yield Job(
            source=Source(kind=Kind.STATIC, name="", shard=shard),
            add_to=Plan.add_static_files,
        )


def choose_warmers(options: dict[str, Any]) -> list[Warmer]:
    """Return the named warmers; all of them if no source is named."""
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
    """Return the warmers whose last recorded run is at least ``every`` seconds old."""
    for each in warmers:
        if options["names"] and each.every_seconds is None:
            raise CommandError(
                f"The warmer {each.name!r} is never due: it has no every=. Give it one in its"
                " @warmer, or leave out --due."
            )
    try:
        statuses = statuses_of(warmers, str(options["shard"] or ""))
    except DatabaseError as error:
        raise CommandError(f"The due warmers cannot be determined: {error}. {CURE}") from None
    return [each.warmer for each in statuses if each.is_due()]


def was_interrupted(source: Source) -> bool:
    """Tell whether the last run of a source can be resumed."""
    try:
        run = last_run_of(source)
    except DatabaseError as error:
        raise CommandError(f"The interrupted runs cannot be determined: {error}. {CURE}") from None
    return run is not None and run.state in {RunState.INTERRUPTED, RunState.LOST}


CURE = "If the table was never made, run manage.py migrate"


def has_source(options: dict[str, Any]) -> bool:
    """Tell whether a sitemap, a file or the static files are chosen."""
    return options["sitemap"] is not None or options["urls"] is not None or options["static"]


def warms_static_files_alone(options: dict[str, Any]) -> bool:
    """Tell whether static files are all that is chosen."""
    others = ("names", "sitemap", "urls", "due", "enqueue", "resume")
    return bool(options["static"]) and not any(options[name] for name in others)


def check_sitemap(url: str, client: Client) -> None:
    """Raise CommandError for a sitemap of another site."""
    try:
        client.locate(url)
    except WarmingError as error:
        raise CommandError(f"--sitemap {url} {error}.") from None


def read_lines(name: str) -> list[str]:
    """Return the lines of a file, or of the standard input for ``-``."""
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
