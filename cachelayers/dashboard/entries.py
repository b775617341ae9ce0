"""Finds entries in a table, in this process's memory or in a Redis.

Session entries are left out: with the key of a session one is logged in.
"""

from __future__ import annotations

import heapq
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Protocol
from urllib.parse import unquote

from django.conf import settings
from django.core.cache import caches
from django.utils.translation import gettext as _

from cachelayers.backends import (
    NEVER_MS,
    DatabaseCache,
    LayeredCache,
    ListedRow,
    MemoryCache,
    MemoryLayer,
    RedisAccess,
    RedisLayer,
    escape_pattern,
    make_layer,
    table_cache,
)
from cachelayers.clearing import session_keys
from cachelayers.conf import all_caches, backend_of, cache_settings, database_caches, layers_of
from cachelayers.dashboard.stored import (
    Stored,
    at,
    read_bytes,
    read_live,
    read_row,
    tags_of_bytes,
    tags_of_live,
)
from cachelayers.entries import KIND_MASK, SIGNED, ZLIB, ZSTD, Kind, Undecodable
from cachelayers.exceptions import CacheUnavailable

PER_PAGE = 50
LIMIT_SECONDS = 2.0  # for one response of a server
SCAN_SECONDS = 1.0  # for a search in Redis, before it returns with a "next" link
SCAN_COUNT = 1_000
HIGHEST_NUMBER = 2**63 - 1  # the largest integer of a database
MOST_SHOWN_BYTES = 2**20  # of a value in Redis; longer ones are not fetched


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One entry in a list. ``reference`` opens it in its entry store."""

    reference: str
    name: str
    bytes: int | None = None
    expires: datetime | None = None  # None: never, or unknown
    used: datetime | None = None
    kind: str = ""


@dataclass(frozen=True)
class Listing:
    """A page of a search; ``after`` gets the next one, and is empty on the last."""

    entries: list[Listed]
    after: str = ""


@dataclass(frozen=True)
class Opened:
    """One entry with its value."""

    listed: Listed
    stored: Stored


@dataclass(frozen=True)
class Wanted:
    """What a search looks for: entries that fulfil all of it."""

    text: str = ""  # in the name
    tags: frozenset[str] = frozenset()  # the entry depends on one of them; empty: on anything
    min_bytes: int = 0

    def takes(self, listed: Listed, tags: Callable[[], set[str]]) -> bool:
        """Tell whether an entry fulfils it. ``tags`` reads the tags of its dependencies."""
        if self.min_bytes and (listed.bytes or 0) < self.min_bytes:
            return False
        return not self.tags or not self.tags.isdisjoint(tags())


class EntryStore(Protocol):
    """The entries of one alias."""

    def search(self, wanted: Wanted, after: str, seconds: float = SCAN_SECONDS) -> Listing:
        """List entries. After so many seconds, return those found so far."""

    def open(self, reference: str) -> Opened | None:
        """Return one entry; None if it is gone."""


class NoSuchEntry(Exception):
    """The reference is not from a link of these screens."""


class Unsearchable(Exception):
    """The entries of an alias cannot be listed. The message is the reason."""


def entry_stores() -> dict[str, str]:
    """Return the aliases whose entries can be listed, with a description."""
    return {
        alias: str(config.get("BACKEND", "")).rpartition(".")[2]
        for alias, config in all_caches().items()
        if backend_of(config) is not None and not is_layered(alias)
    }


def is_layered(alias: str) -> bool:
    """Tell whether the entries of a cache are in its layers."""
    backend = backend_of(cache_settings(alias))
    return backend is not None and issubclass(backend, LayeredCache)


def entry_store_of(alias: str) -> EntryStore:
    """Return the entry store of an alias. Raises Unsearchable."""
    if alias in dict(database_caches()):
        return TableEntryStore(table_cache(alias))
    layer = make_layer(alias, LIMIT_SECONDS)
    if isinstance(layer, MemoryLayer):
        return MemoryEntryStore(layer)
    if isinstance(layer, RedisLayer) and not layer.access.is_cluster:
        return RedisEntryStore(layer.access)
    raise Unsearchable(_("The entries of %s cannot be listed: its backend has no way to.") % alias)


class TableEntryStore:
    """The rows of a DatabaseCache."""

    def __init__(self, cache: DatabaseCache) -> None:
        """It uses the cache's own connection."""
        self.cache = cache

    def search(self, wanted: Wanted, after: str, seconds: float = SCAN_SECONDS) -> Listing:
        """Read the alias's rows in the order of their ids."""
        first = number_of(after) + 1 if after else self.cache.first_id
        found: list[Listed] = []
        secret, deadline = session_keys(), time.monotonic() + seconds
        while rows := self.cache.search_entries(wanted.text, first, PER_PAGE + 1):
            for number, row in enumerate(rows[:PER_PAGE]):
                is_late = number and time.monotonic() > deadline  # one at least, to get on
                if is_late or len(found) == PER_PAGE:
                    return Listing(found, str(row.id - 1))
                listed = listed_row(row)
                if not secret.search(listed.name) and wanted.takes(
                    listed, partial(self._tags, row.id)
                ):
                    found.append(listed)
            if len(rows) <= PER_PAGE:
                break
            first = rows[PER_PAGE].id
        return Listing(found)

    def _tags(self, number: int) -> set[str]:
        row = self.cache.read_stored_entry(number)
        if row is None or row.data is None:
            return set()
        try:
            kind, data = self.cache.plain_data(row)
        except Undecodable:
            return set()
        return tags_of_bytes(data) if kind in {Kind.PICKLE, Kind.JSON} else set()

    def open(self, reference: str) -> Opened | None:
        number = number_of(reference)
        row = self.cache.read_stored_entry(number)
        if row is None:
            return None
        size = len(row.key) + len(row.data or b"")
        listed = listed_row(ListedRow(number, row.key, *row[1:3], row.format, size))
        if session_keys().search(listed.name):
            return None
        try:
            form, data = (Kind.INT, b"") if row.data is None else self.cache.plain_data(row)
        except Undecodable as error:
            return Opened(listed, Stored(problem=str(error)))
        return Opened(listed, read_row(form, row.number, data))


def listed_row(row: ListedRow) -> Listed:
    return Listed(
        reference=str(row.id),
        name=bytes(row.key).partition(b"\0")[2].decode("utf-8", "backslashreplace"),
        bytes=row.bytes,
        expires=None if row.expires == NEVER_MS else at(row.expires / 1000),
        used=at(row.used / 1000),
        kind=kind_of(row.format),
    )


def kind_of(form: int) -> str:
    """Return a description of the format of a row's value."""
    names = {
        Kind.INT: _("number"),
        Kind.DIGITS: _("number"),
        Kind.BYTES: _("bytes"),
        Kind.STR: _("text"),
        Kind.PICKLE: _("pickle"),
        Kind.JSON: _("JSON"),
    }
    flags = {ZLIB: "zlib", ZSTD: "zstd", SIGNED: _("signed")}
    parts = [names.get(form & KIND_MASK, _("own serializer"))]
    return ", ".join([*parts, *(name for flag, name in flags.items() if form & flag)])


class MemoryEntryStore:
    """The entries in this process's memory; other processes have their own."""

    def __init__(self, layer: MemoryLayer) -> None:
        self.records = layer.store.records

    def search(self, wanted: Wanted, after: str, seconds: float = SCAN_SECONDS) -> Listing:
        """Sort the names after the last one of the previous page."""
        secret, deadline = session_keys(), time.monotonic() + seconds
        # Into a list first, because other threads continue to write.
        names = [name for name in list(self.records) if wanted.text in name and name > after]
        found: list[Listed] = []
        heapq.heapify(names)
        last = after
        while names:
            is_late = last != after and time.monotonic() > deadline  # one at least, to get on
            if is_late or len(found) == PER_PAGE:
                return Listing(found, last)
            last = heapq.heappop(names)
            listed = None if secret.search(last) else self._listed(last)
            if listed is not None and wanted.takes(listed, partial(self._tags, last)):
                found.append(listed)
        return Listing(found)

    def _tags(self, name: str) -> set[str]:
        record = self.records.get(name)
        content = None if record is None else record.entry
        if content is None:
            return set()
        value, is_pickled, _expires = content
        return tags_of_bytes(value) if is_pickled else tags_of_live(value)

    def open(self, reference: str) -> Opened | None:
        record, listed = self.records.get(reference), self._listed(reference)
        if record is None or listed is None or (content := record.entry) is None:
            return None
        if session_keys().search(listed.name):
            return None
        value, is_pickled, _expires = content
        stored = read_bytes(value) if is_pickled else read_live(value)
        return Opened(listed, stored)

    def _listed(self, name: str) -> Listed | None:
        record = self.records.get(name)
        content = None if record is None else record.entry
        if record is None or content is None:
            return None
        return Listed(
            reference=name,
            name=name,
            bytes=record.bytes,
            expires=at(content[2]),
            kind=_("pickle") if content[1] else type(content[0]).__name__,
        )


class RedisEntryStore:
    """The keys in a Redis that belong to this cache."""

    def __init__(self, access: RedisAccess) -> None:
        """It uses connections with time limits of its own."""
        self.access = access
        self.client = access.client()

    def search(self, wanted: Wanted, after: str, seconds: float = SCAN_SECONDS) -> Listing:
        """Scan the server's keys for a short time; they have no order."""
        pattern = f"{escape_pattern(str(self.access.key('')))}*{escape_pattern(wanted.text)}*"
        cursor, keys, secret = number_of(after or "0"), [], session_keys()
        deadline = time.monotonic() + seconds
        while True:
            cursor, some = self.client.scan(cursor=cursor, match=pattern, count=SCAN_COUNT)
            shown = (key for key in some if not secret.search(name_of(key)))
            keys += [key for key in shown if self._is_wanted(key, wanted)]
            if not cursor or len(keys) >= PER_PAGE or time.monotonic() > deadline:
                break
        return Listing([self._listed(key) for key in keys], str(cursor) if cursor else "")

    def _is_wanted(self, key: bytes, wanted: Wanted) -> bool:
        """Tell whether a key is wanted; its size and value are asked for only if they matter."""
        if not wanted.tags and not wanted.min_bytes:
            return True
        if self.client.type(key) not in {b"string", "string"}:
            return False
        size = self.client.strlen(key)
        listed = Listed(reference="", name="", bytes=size)
        return wanted.takes(listed, partial(self._tags, key, size))

    def _tags(self, key: bytes, size: int) -> set[str]:
        data = self.client.get(key) if size <= MOST_SHOWN_BYTES else None
        return set() if data is None else tags_of_bytes(bytes(data))

    def open(self, reference: str) -> Opened | None:
        """Fetch one value, unless it is very long."""
        try:
            key = bytes.fromhex(reference)
        except ValueError:
            raise NoSuchEntry from None
        # Other keys of the server belong to others.
        if not key.startswith(str(self.access.key("")).encode()):
            raise NoSuchEntry
        if session_keys().search(name_of(key)):
            return None
        if self.client.type(key) not in {b"string", "string"}:
            return None
        listed = replace(self._listed(key), bytes=self.client.strlen(key))
        if (listed.bytes or 0) > MOST_SHOWN_BYTES:
            return Opened(listed, Stored(problem=_("it is too long to be fetched")))
        data = self.client.get(key)
        return None if data is None else Opened(listed, read_bytes(bytes(data)))

    def _listed(self, key: bytes) -> Listed:
        milliseconds = self.client.pttl(key)
        return Listed(
            reference=bytes(key).hex(),
            name=name_of(key),
            expires=at(time.time() + milliseconds / 1000) if milliseconds >= 0 else None,
        )


def name_of(key: bytes) -> str:
    return bytes(key).decode("utf-8", "backslashreplace")


# The beginning of a name in a layer: of this process's memory, or with the alias and the epoch.
LAYER_HEAD = re.compile(r".*?~(?:\d+:|([^:]+):[0-9a-z]+:)", re.DOTALL)


def key_of(alias: str, name: str) -> tuple[str, str] | None:
    """Return the cache of an entry and the key as given to it; None if it cannot be known."""
    head = LAYER_HEAD.match(name)
    owners = [unquote(head[1])] if head and head[1] else []
    if not owners:
        owners = [each for each in settings.CACHES if alias in layers_of(each)] if head else [alias]
    rest = name[head.end() :] if head else name
    for owner in owners:
        start = caches[owner].make_key("") if owner in settings.CACHES else ""
        key = rest.removeprefix(start)
        if start and key != rest and key and caches[owner].make_key(key) == rest:
            return owner, key
    return None


@dataclass(frozen=True)
class Count:
    """The number of entries found; without ``is_whole``, there may be more."""

    entries: int
    is_whole: bool


def count_made_from(tags: Iterable[str], seconds: float) -> Count:
    """Count the entries that depend on one of the tags, in tables and this process's memory.

    It takes about so many seconds at most. An entry in several layers counts once.
    """
    wanted, deadline = Wanted(tags=frozenset(tags)), time.monotonic() + seconds
    names: set[str] = set()
    is_whole = True
    for alias in entry_stores():
        layer = None if alias in dict(database_caches()) else backend_of(all_caches()[alias])
        if layer is not None and not issubclass(layer, MemoryCache):
            continue
        after = "-"
        try:
            store = entry_store_of(alias)
            while after and (left := deadline - time.monotonic()) > 0:
                listing = store.search(wanted, "" if after == "-" else after, left)
                names |= {LAYER_HEAD.sub("", entry.name, count=1) for entry in listing.entries}
                after = listing.after
        except CacheUnavailable:
            continue
        is_whole &= not after
    return Count(len(names), is_whole)


def number_of(text: str) -> int:
    """Return the number in a reference. Raises NoSuchEntry."""
    try:
        number = int(text)
    except ValueError:
        raise NoSuchEntry from None
    if abs(number) > HIGHEST_NUMBER:
        raise NoSuchEntry
    return number
