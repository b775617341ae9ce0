"""Collects the items to warm, each page once. `run` calls it; it requests sitemaps only.

Everything is collected before anything is warmed, so that the time left is known, and a warmer's
query is read in the thread that opened its connection.
"""

from __future__ import annotations

import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from xml.parsers import expat

from cachelayers.staticfiles import list_static_files
from cachelayers.warming.clients import PLAIN, Address, Client, Variant
from cachelayers.warming.items import (
    Item,
    Outcome,
    State,
    TookTooLong,
    WarmingError,
    call_item,
    describe_callable,
    failure,
    recall_item,
    static_item,
    target_item,
)
from cachelayers.warming.registry import RecallTarget, Target, Warmer

MAX_BYTES = 50 * 2**20  # 50 MiB, the protocol's limit for one uncompressed sitemap
MAX_DEPTH = 3  # an index of indexes of sitemaps; the protocol itself allows no nesting
NAMESPACE = "http://www.sitemaps.org/schemas/sitemap/"
GZIP_MAGIC = b"\x1f\x8b"
GZIP_WINDOW_BITS = 31  # tells zlib to expect a gzip header
ENTRY_OF_ROOT = {"urlset": "url", "sitemapindex": "sitemap"}
MOST_THINGS = 1_000_000  # per warmer; an endless one would fill the memory
SOON_SECONDS = 0.001  # 0 would mean never
CAN_INTERRUPT = hasattr(signal, "SIGALRM")  # not on Windows


def can_interrupt() -> bool:
    """Tell whether this thread can be interrupted: signals reach the main thread only."""
    return CAN_INTERRUPT and threading.current_thread() is threading.main_thread()


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise TookTooLong in the block after so many seconds, if this thread allows it."""
    # Another alarm, such as a test runner's, may come before this one would.
    if not seconds or not can_interrupt() or 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= seconds:
        yield
        return

    def give_up(*_arguments: Any) -> None:
        raise TookTooLong(seconds)

    began = time.monotonic()
    before = signal.signal(signal.SIGALRM, give_up)
    others, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before if before is not None else signal.SIG_DFL)
        if others:
            left = others - (time.monotonic() - began)
            signal.setitimer(signal.ITIMER_REAL, max(left, SOON_SECONDS))


@dataclass(kw_only=True)
class Sitemap:
    """A parsed file: the URLs in it, and whether these are sitemaps."""

    is_index: bool = False
    locations: list[str] = field(default_factory=list)


def parse_sitemap(content: bytes) -> Sitemap:
    """Return the parsed sitemap. WarmingError with the reason if it is not one.

    It collects the text of <loc> from expat's events, without a tree in memory.
    """
    sitemap, path, text = Sitemap(), list[str](), list[str]()

    def refuse_doctype(*_arguments: object) -> None:
        # A sitemap has none. Entities declared there can expand to gigabytes or read files.
        raise WarmingError("has a document type declaration, which no sitemap needs")

    def begin(name: str, _attributes: object) -> None:
        local = _local_name(name)
        if not path:
            if local not in ENTRY_OF_ROOT:
                shown = name.rpartition(" ")[2]
                raise WarmingError(f"is no sitemap: it begins with <{shown}>, not <urlset>")
            sitemap.is_index = local == "sitemapindex"
        path.append(local)
        text.clear()

    def end(_name: str) -> None:
        # The length first, because a deeply nested path must not be copied for each element.
        if len(path) == 3 and path[1:] == [ENTRY_OF_ROOT[path[0]], "loc"]:
            sitemap.locations.append("".join(text).strip())
        path.pop()

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = refuse_doctype
    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text.append
    try:
        parser.Parse(_unzip(content), True)
    except expat.ExpatError as error:
        raise WarmingError(f"is not valid XML: {error}") from None
    return sitemap


def _local_name(name: str) -> str:
    """Return ``loc`` for the protocol's own elements; others such as ``image:loc`` unchanged."""
    namespace, _, local = name.rpartition(" ")
    return local if namespace.startswith(NAMESPACE) else name


def _unzip(content: bytes) -> bytes:
    # By its first bytes, not its name: a middleware may have compressed it as well.
    if not content.startswith(GZIP_MAGIC):
        return content
    # Not gzip.decompress(): a small file could expand and fill the memory.
    unpacker = zlib.decompressobj(GZIP_WINDOW_BITS)
    try:
        unpacked = unpacker.decompress(content, MAX_BYTES)
    except zlib.error as error:
        raise WarmingError(f"is not valid gzip: {error}") from None
    if unpacker.unconsumed_tail:
        raise WarmingError(f"is longer than {MAX_BYTES:,} bytes")
    if not unpacker.eof:
        raise WarmingError("is not valid gzip: it ends too early")
    return unpacked


class Plan:
    """The items to warm, and the failures found while planning."""

    def __init__(
        self,
        site: Client,
        *,
        variants: Sequence[Variant] = (PLAIN,),
        seconds_each: float | None = None,
    ) -> None:
        """``seconds_each``: time limit for listing a warmer's or sitemap's items."""
        self.items: list[Item] = []
        self.failures: list[Outcome] = []
        self._site = site
        self._variants = variants
        self._seconds_each = seconds_each
        self._planned: set[Address] = set()

    def add_warmer(self, warmer: Warmer) -> None:
        """Run a warmer and add its items, also those yielded before an exception."""
        origin = f"warmer {warmer.name!r}"
        try:
            with time_limit(self._seconds_each):
                for number, thing in enumerate(_yielded_by(warmer)):
                    if number == MOST_THINGS:
                        raise WarmingError(f"yields more than {number:,}; the rest is left out")
                    self._add_thing(thing, origin=origin, position=f"{warmer.name}#{number}")
        # A warmer is the site's code and may raise anything; it is reported.
        except (Exception, TookTooLong) as error:  # noqa: BLE001
            self._fail(origin, error)

    def add_sitemap(self, url: str) -> None:
        """Add every page in a sitemap of the site."""
        try:
            with time_limit(self._seconds_each):
                self._add_sitemap(url, depth=1, seen=set())
        except TookTooLong as error:
            self._fail(f"sitemap {url}", error)

    def add_static_files(self) -> None:
        try:
            self.items += map(static_item, list_static_files())
        # Storages raise errors of their libraries, which have no common base class.
        except Exception as error:  # noqa: BLE001
            self._fail("static files", error)

    def add_url_lines(self, lines: Iterable[str], *, name: str) -> None:
        """Add the URLs of a file, one per line, without blank lines and lines that begin with #."""
        for number, line in enumerate(lines, start=1):
            url = line.strip().removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")  # a byte order mark
            if url and not url.startswith("#"):
                self._add_url(url, label=f"{name} line {number}: {url}")

    def _fail(self, label: str, error: BaseException) -> None:
        self.failures.append(failure(label, error))

    def _add_thing(self, thing: object, *, origin: str, position: str) -> None:
        if isinstance(thing, str):
            self._add_url(thing, label=thing)
        elif isinstance(thing, Target):
            self.items.append(target_item(thing))
        elif isinstance(thing, RecallTarget):
            self.items.append(recall_item(thing))
        elif callable(thing):
            self._add_callable(thing, position=position)
        else:
            reason = (
                f"yielded {thing!r}, of type {type(thing).__name__}; "
                "yield callables, URLs (strings) or Targets"
            )
            self._fail(origin, WarmingError(reason))

    def _add_callable(self, thing: Callable[[], object], *, position: str) -> None:
        label = describe_callable(thing)
        try:
            self.items.append(call_item(thing, label=label, position=position))
        # Arguments without a key, wrong arguments, or a key= that raises: only this call fails.
        except Exception as error:  # noqa: BLE001
            self._fail(label, error)

    def _add_url(self, url: str, *, label: str) -> None:
        try:
            address = self._site.locate(url)
        except WarmingError as error:
            self._fail(label, error)
            return
        if address not in self._planned:
            self._planned.add(address)
            self.items += [self._page_item(url, address, variant) for variant in self._variants]

    def _page_item(self, url: str, address: Address, variant: Variant) -> Item:
        def request() -> State:
            visit = self._site.visit(address, variant)
            return State.ALREADY_WARM if visit.came_from_page_cache else State.WARMED

        # Only a request that has passed the middleware knows the page's key.
        return Item(
            label=f"{url} [{variant}]" if variant.headers else url,
            identity=f"page {address} {variant}",
            warm=request,
        )

    def _add_sitemap(self, url: str, *, depth: int, seen: set[Address]) -> None:
        try:
            address = self._site.locate(url)
            if address in seen:
                return
            seen.add(address)
            if depth > MAX_DEPTH:
                raise WarmingError(f"is nested more than {MAX_DEPTH} deep")
            sitemap = parse_sitemap(self._site.read(address, max_bytes=MAX_BYTES))
        # Rendering runs the site's code, which may raise anything; it is reported.
        except Exception as error:  # noqa: BLE001
            self._fail(f"sitemap {url}", error)
            return
        for location in sitemap.locations:
            if sitemap.is_index:
                self._add_sitemap(location, depth=depth + 1, seen=seen)
            else:
                self._add_url(location, label=location)


def _yielded_by(warmer: Warmer) -> Iterator[object]:
    result: object = warmer.function()
    # A single item instead of a list; iterating over a string would yield letters.
    if isinstance(result, (str, Target, RecallTarget)) or callable(result):
        yield result
    elif result is None:
        raise WarmingError("returned None; yield callables, URLs or Targets")
    else:
        yield from cast("Iterable[object]", result)
