"""Collects the items to warm, each page once. `run` calls it; it requests sitemaps only.

Everything is collected before anything is warmed, so that the time left is known, and a warmer's
query is read in the thread that opened its connection.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast
from xml.parsers import expat

from cachelayers.staticfiles import list_static_files
from cachelayers.warming.addresses import PLAIN, Address, Variant
from cachelayers.warming.clients import Client
from cachelayers.warming.items import (
    CallItem,
    Item,
    PageItem,
    StaticItem,
    TargetItem,
    call_of_cached,
    describe_callable,
    recall_item,
)
from cachelayers.warming.outcomes import Outcome, TookTooLong, WarmingError, failure
from cachelayers.warming.pool import time_limit
from cachelayers.warming.registry import RecallTarget, Target, Warmer

MAX_BYTES = 50 * 2**20  # 50 MiB, the protocol's limit for one uncompressed sitemap
MAX_DEPTH = 3  # an index of indexes of sitemaps; the protocol itself allows no nesting
NAMESPACE = "http://www.sitemaps.org/schemas/sitemap/"
GZIP_MAGIC = b"\x1f\x8b"
GZIP_WINDOW_BITS = 31  # tells zlib to expect a gzip header
ENTRY_OF_ROOT = {"urlset": "url", "sitemapindex": "sitemap"}


@dataclass(kw_only=True)
class Sitemap:
    """A parsed file: the URLs in it, and whether these are sitemaps."""

    is_index: bool = False
    locations: list[str] = field(default_factory=list)


def read_sitemap(site: Client, url: str) -> Iterator[str | Outcome]:
    """Yield every page in a sitemap, and a failed outcome for each unreadable file."""
    yield from _read(site, url, depth=1, seen=set())


def parse_sitemap(content: bytes) -> Sitemap:
    """Return the parsed sitemap. WarmingError with the reason if it is not one."""
    return _Parser().parse(_unzip(content))


def _read(site: Client, url: str, *, depth: int, seen: set[Address]) -> Iterator[str | Outcome]:
    try:
        address = site.locate(url)
        if address in seen:
            return
        seen.add(address)
        sitemap = _load(site, address, depth=depth)
    # Rendering runs the site's code, which may raise anything; it is reported.
    except Exception as error:  # noqa: BLE001
        yield failure(f"sitemap {url}", error)
        return
    if not sitemap.is_index:
        yield from sitemap.locations
        return
    for location in sitemap.locations:
        yield from _read(site, location, depth=depth + 1, seen=seen)


def _load(site: Client, address: Address, *, depth: int) -> Sitemap:
    if depth > MAX_DEPTH:
        raise WarmingError(f"is nested more than {MAX_DEPTH} deep")
    return parse_sitemap(site.read(address, max_bytes=MAX_BYTES))


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


class _Parser:
    """Collects the text of <loc> from expat's events, without a tree in memory."""

    def __init__(self) -> None:
        self._sitemap = Sitemap()
        self._path: list[str] = []
        self._text: list[str] = []
        self._expat = expat.ParserCreate(namespace_separator=" ")
        self._expat.StartDoctypeDeclHandler = self._refuse_doctype
        self._expat.StartElementHandler = self._open
        self._expat.EndElementHandler = self._close
        self._expat.CharacterDataHandler = self._take_text

    def parse(self, content: bytes) -> Sitemap:
        try:
            self._expat.Parse(content, True)
        except expat.ExpatError as error:
            raise WarmingError(f"is not valid XML: {error}") from None
        return self._sitemap

    def _refuse_doctype(self, *_arguments: object) -> None:
        # A sitemap has none. Entities declared there can expand to gigabytes or read files.
        raise WarmingError("has a document type declaration, which no sitemap needs")

    def _open(self, name: str, _attributes: object) -> None:
        if not self._path:
            self._check_root(name)
        self._path.append(_local_name(name))
        self._text.clear()

    def _check_root(self, name: str) -> None:
        root = _local_name(name)
        if root not in ENTRY_OF_ROOT:
            shown = name.rpartition(" ")[2]
            raise WarmingError(f"is no sitemap: it begins with <{shown}>, not <urlset>")
        self._sitemap.is_index = root == "sitemapindex"

    def _take_text(self, text: str) -> None:
        if self._is_location():
            self._text.append(text)

    def _close(self, _name: str) -> None:
        if self._is_location():
            self._sitemap.locations.append("".join(self._text).strip())
        self._path.pop()

    def _is_location(self) -> bool:
        # The length first, because a deeply nested path must not be copied for each element.
        is_third = len(self._path) == 3
        return is_third and self._path[1:] == [ENTRY_OF_ROOT[self._path[0]], "loc"]


def _local_name(name: str) -> str:
    """Return ``loc`` for the protocol's own elements; others such as ``image:loc`` unchanged."""
    namespace, _, local = name.rpartition(" ")
    return local if namespace.startswith(NAMESPACE) else name


def read_url_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield URLs with line numbers, without blank lines and lines that begin with #."""
    for number, line in enumerate(lines, start=1):
        url = line.strip().removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")  # a byte order mark
        if url and not url.startswith("#"):
            yield number, url


MOST_THINGS = 1_000_000  # per warmer; an endless one would fill the memory


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
            self.failures.append(failure(origin, error))

    def add_sitemap(self, url: str) -> None:
        """Add every page in a sitemap of the site."""
        try:
            with time_limit(self._seconds_each):
                for found in read_sitemap(self._site, url):
                    if isinstance(found, Outcome):
                        self.failures.append(found)
                    else:
                        self._add_url(found, label=found)
        except TookTooLong as error:
            self.failures.append(failure(f"sitemap {url}", error))

    def add_static_files(self) -> None:
        try:
            self.items += [StaticItem(name=name) for name in list_static_files()]
        # Storages raise errors of their libraries, which have no common base class.
        except Exception as error:  # noqa: BLE001
            self.failures.append(failure("static files", error))

    def add_url_lines(self, lines: Iterable[str], *, name: str) -> None:
        """Add the URLs of a file, one per line."""
        for number, url in read_url_lines(lines):
            self._add_url(url, label=f"{name} line {number}: {url}")

    def _add_thing(self, thing: object, *, origin: str, position: str) -> None:
        if isinstance(thing, str):
            self._add_url(thing, label=thing)
        elif isinstance(thing, Target):
            self.items.append(TargetItem(target=thing))
        elif isinstance(thing, RecallTarget):
            self.items.append(recall_item(thing))
        elif callable(thing):
            self._add_callable(thing, position=position)
        else:
            self.failures.append(failure(origin, WarmingError(_describe_nonsense(thing))))

    def _add_callable(self, thing: Callable[[], object], *, position: str) -> None:
        label = describe_callable(thing)
        try:
            item: Item | None = call_of_cached(thing)
        # Arguments without a key, wrong arguments, or a key= that raises: only this call fails.
        except Exception as error:  # noqa: BLE001
            self.failures.append(failure(label, error))
            return
        self.items.append(item or CallItem(function=thing, position=position))

    def _add_url(self, url: str, *, label: str) -> None:
        try:
            address = self._site.locate(url)
        except WarmingError as error:
            self.failures.append(failure(label, error))
            return
        if address not in self._planned:
            self._planned.add(address)
            self.items += [
                PageItem(url=url, address=address, site=self._site, variant=variant)
                for variant in self._variants
            ]


def _yielded_by(warmer: Warmer) -> Iterator[object]:
    result: object = warmer.function()
    # A single item instead of a list; iterating over a string would yield letters.
    if isinstance(result, (str, Target, RecallTarget)) or callable(result):
        yield result
    elif result is None:
        raise WarmingError("returned None; yield callables, URLs or Targets")
    else:
        yield from cast("Iterable[object]", result)


def _describe_nonsense(thing: object) -> str:
    return (
        f"yielded {thing!r}, of type {type(thing).__name__}; "
        "yield callables, URLs (strings) or Targets"
    )
