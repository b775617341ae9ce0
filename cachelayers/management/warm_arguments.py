"""The options of ``warm_cache`` as argparse knows them: declared, and each value parsed."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError

from cachelayers.warming.run import Shard
from cachelayers.warming.server import check_origin
from cachelayers.warming.variants import parse_header

MAX_CONCURRENCY = 64
MAX_SHARDS = 1000
TIME_LIMIT_SECONDS = 300.0


def add_arguments(parser: ArgumentParser) -> None:
    """Declare everything."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="Warmers to run.")
    add_sources(parser)
    add_pace(parser)
    add_variants(parser)
    add_results(parser)
    # For the process that a server starts: the run that it has claimed for it.
    parser.add_argument("--claimed", default="", help=SUPPRESS)


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


# Single values, for argparse


def parse_concurrency(text: str) -> int:
    """A number of threads; raises ArgumentTypeError with the bounds."""
    if not is_whole(text) or not 1 <= int(text) <= MAX_CONCURRENCY:
        raise ArgumentTypeError(f"{text!r} is no number from 1 to {MAX_CONCURRENCY}")
    return int(text)


def parse_rate(text: str) -> float:
    """Items a second."""
    number = parse_number(text)
    if not 0 < number < float("inf"):
        raise ArgumentTypeError(f"{text!r} is no number above 0 of items a second")
    return number


def parse_time_limit(text: str) -> float:
    """Seconds, 0 for none."""
    number = parse_number(text)
    if not 0 <= number < float("inf"):
        raise ArgumentTypeError(f"{text!r} is no number of seconds; 0 is no limit")
    return number


def parse_number(text: str) -> float:
    """A number, or one that no bounds hold."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def parse_shard(text: str) -> Shard:
    """``2/3``: the second of three parts."""
    number, _, of = text.partition("/")
    if not (is_whole(number) and is_whole(of) and 1 <= int(number) <= int(of) <= MAX_SHARDS):
        raise ArgumentTypeError(
            f"{text!r} is no part of a whole such as 1/3, with at most {MAX_SHARDS} parts"
        )
    return Shard(number=int(number), of=int(of))


def parse_header_option(text: str) -> tuple[str, str]:
    """``Name: value``."""
    try:
        return parse_header(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def parse_base_url(text: str) -> str:
    """Scheme, host and port."""
    try:
        return check_origin(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def is_whole(text: str) -> bool:
    """Tell whether a text is a whole number in plain digits, of a sensible length."""
    return text.isascii() and text.isdecimal() and len(text) <= 9
