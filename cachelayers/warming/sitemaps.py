"""Read the site's own sitemaps (sitemaps.org, protocol 0.9). Called by the plan."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from cachelayers.warming.addresses import Address
from cachelayers.warming.outcomes import Outcome, WarmingError, failure
from cachelayers.warming.visits import Visitor

MAX_BYTES = 50 * 2**20  # 50 MiB, the protocol's own bound for one sitemap, uncompressed
MAX_DEPTH = 3  # an index, of indexes, of sitemaps; the protocol itself allows no nesting
NAMESPACE = "http://www.sitemaps.org/schemas/sitemap/"
GZIP_MAGIC = b"\x1f\x8b"
GZIP_WINDOW_BITS = 31  # zlib's way to say: with a gzip header
ENTRY_OF_ROOT = {"urlset": "url", "sitemapindex": "sitemap"}


@dataclass(kw_only=True)
class Sitemap:
    """One file: the places that it lists, and whether these are sitemaps themselves."""

    is_index: bool = False
    locations: list[str] = field(default_factory=list)


def read_sitemap(site: Visitor, url: str) -> Iterator[str | Outcome]:
    """Every page that a sitemap lists; a part that cannot be read is a failed outcome."""
    yield from _read(site, url, depth=1, seen=set())


def parse_sitemap(content: bytes) -> Sitemap:
    """Take a sitemap apart; raises WarmingError with the reason where it is none."""
    return _Parser().parse(_unzip(content))


def _read(site: Visitor, url: str, *, depth: int, seen: set[Address]) -> Iterator[str | Outcome]:
    try:
        address = site.locate(url)
        if address in seen:
            return
        seen.add(address)
        sitemap = _load(site, address, depth=depth)
    # Rendering runs the site's own code, which may raise anything; all of it is reported.
    except Exception as error:  # noqa: BLE001
        yield failure(f"sitemap {url}", error)
        return
    if not sitemap.is_index:
        yield from sitemap.locations
        return
    for location in sitemap.locations:
        yield from _read(site, location, depth=depth + 1, seen=seen)


def _load(site: Visitor, address: Address, *, depth: int) -> Sitemap:
    if depth > MAX_DEPTH:
        raise WarmingError(f"is nested more than {MAX_DEPTH} deep")
    return parse_sitemap(site.read(address, max_bytes=MAX_BYTES))


def _unzip(content: bytes) -> bytes:
    # By its first bytes, not its name: a middleware may have compressed it as well.
    if not content.startswith(GZIP_MAGIC):
        return content
    # Not gzip.decompress(): a small file could unpack to fill the memory.
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
    """Collects the text of <loc> from expat's events, which hold no tree in memory."""

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
        # A sitemap has none; entities declared there can blow up to gigabytes or read files.
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
        # The length first: what is nested a million deep is not to be copied for each element.
        is_third = len(self._path) == 3
        return is_third and self._path[1:] == [ENTRY_OF_ROOT[self._path[0]], "loc"]


def _local_name(name: str) -> str:
    """``loc`` for the protocol's own elements; an extension's (``image:loc``) keep theirs."""
    namespace, _, local = name.rpartition(" ")
    return local if namespace.startswith(NAMESPACE) else name
