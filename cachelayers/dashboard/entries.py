"""Finds entries in a table, in this process's memory or in a Redis.

Session entries are left out: with the key of a session one is logged in.
"""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from django.utils.translation import gettext as _

from cachelayers.backends import (
    NEVER_MS,
    DatabaseCache,
    LayeredCache,
    ListedRow,
    MemoryLayer,
    RedisAccess,
    RedisLayer,
    escape_pattern,
    make_layer,
    table_cache,
)
from cachelayers.clearing import session_keys
from cachelayers.conf import all_caches, backend_of, cache_settings, database_caches
from cachelayers.dashboard.stored import Stored, at, read_bytes, read_live, read_row
from cachelayers.entries import KIND_MASK, SIGNED, ZLIB, ZSTD, Kind, Undecodable

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


class EntryStore(Protocol):
    """The entries of one alias."""

    def search(self, text: str, after: str) -> Listing:
        """List the entries whose name contains a text."""

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

    def search(self, text: str, after: str) -> Listing:
        """Read the alias's rows in the order of their ids."""
        first = number_of(after) + 1 if after else self.cache.first_id
        rows = self.cache.search_entries(text, first, PER_PAGE + 1)
        shown, secret = rows[:PER_PAGE], session_keys()
        entries = [listed_row(row) for row in shown]
        return Listing(
            [entry for entry in entries if not secret.search(entry.name)],
            str(shown[-1].id) if len(rows) > PER_PAGE else "",
        )

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

    def search(self, text: str, after: str) -> Listing:
        """Sort the names after the last one of the previous page."""
        secret = session_keys()
        # Into a list first, because other threads continue to write.
        found_names = (name for name in list(self.records) if text in name and name > after)
        names = (name for name in found_names if not secret.search(name))
        found = heapq.nsmallest(PER_PAGE + 1, names)
        entries = [entry for name in found[:PER_PAGE] if (entry := self._listed(name))]
        return Listing(entries, found[PER_PAGE - 1] if len(found) > PER_PAGE else "")

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

    def search(self, text: str, after: str) -> Listing:
        """Scan the server's keys for a short time; they have no order."""
        pattern = f"{escape_pattern(str(self.access.key('')))}*{escape_pattern(text)}*"
        cursor, keys, secret = number_of(after or "0"), [], session_keys()
        deadline = time.monotonic() + SCAN_SECONDS
        while True:
            cursor, some = self.client.scan(cursor=cursor, match=pattern, count=SCAN_COUNT)
            keys += [key for key in some if not secret.search(name_of(key))]
            if not cursor or len(keys) >= PER_PAGE or time.monotonic() > deadline:
                break
        return Listing([self._listed(key) for key in keys], str(cursor) if cursor else "")

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


def number_of(text: str) -> int:
    """Return the number in a reference. Raises NoSuchEntry."""
    try:
        number = int(text)
    except ValueError:
        raise NoSuchEntry from None
    if abs(number) > HIGHEST_NUMBER:
        raise NoSuchEntry
    return number
