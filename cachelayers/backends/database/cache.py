"""DatabaseCache: Django's cache API as operations on the table of entries.

Each operation runs through ``guard``, which handles faults, on ``table``, which runs the SQL.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSet
from typing import Any, TypeVar, cast

from django.core.cache import caches
from django.core.cache.backends.base import DEFAULT_TIMEOUT

from cachelayers.backends.database.base import (
    MISS,
    TableCache,
    milliseconds,
    now_ms,
    seconds_since_1970,
)
from cachelayers.backends.database.faults import DATABASE_ERRORS, Fault, fault_of
from cachelayers.backends.database.guard import FAILED, missing_table_text
from cachelayers.backends.database.lock_rows import LockRow
from cachelayers.backends.database.table import NEVER_MS, FoundKey, ListedRow, Row, WholeRow
from cachelayers.backends.locking import Lock
from cachelayers.backends.patterns import Search
from cachelayers.conf import implied_layer, table_alias
from cachelayers.entries import (
    KIND_MASK,
    LARGEST_INT64,
    LEASE_SUFFIX,
    SMALLEST_INT64,
    RowKey,
    Undecodable,
)
from cachelayers.exceptions import CacheUnavailable, MissingTable
from cachelayers.locations import place_of
from cachelayers.utils.answers import outside_event_loop
from cachelayers.utils.captures import note_plain_get, running_captures
from cachelayers.utils.sizes import note_size, running_measurements

MOST_SHOWN_BYTES = 2**20  # of a value shown to an operator

Answer = TypeVar("Answer")


class DatabaseCache(TableCache):
    """A cache in one table: of a database, by its DATABASES alias, or of an SQLite file, by path.

    Failed reads are misses and failed writes are skipped; both are logged once a minute. The
    methods for operators, at the end, raise CacheUnavailable instead.
    """

    keeps_entries_in_table = True
    layer_class = "cachelayers.backends.layered.layers.table.TableLayer"

    # Reading

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        if running_captures:
            note_plain_get(self.alias)
        value = self._find(self._row_key(key, version))
        if value is MISS:
            self._cell.misses += 1
            return default
        self._cell.hits += 1
        return value

    def get_shared(self, key: str) -> Any:
        """Return the value of a live entry, or None; not counted in the statistics."""
        value = self._find(self._row_key(key, None))
        return None if value is MISS else value

    def _find(self, row_key: RowKey) -> Any:
        """Return the value of a live entry, or MISS."""
        row = self._attempt("get", self._table.read, row_key, now_ms())
        if row is None or row is FAILED:
            return MISS
        if self._health.is_troubled and self._is_distrusted(row_key):
            return MISS
        if self._notes_reads:
            self._note_read(row_key)
        try:
            return self._unpack(*row)
        except Undecodable as error:
            self._report_undecodable(row_key.key, error)
            return MISS

    def get_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        """Return the values of the live entries among ``keys``, in their order."""
        if running_captures:
            note_plain_get(self.alias)
        keys = list(keys)
        values = self._find_many(keys, version)
        self._cell.hits += len(values)
        self._cell.misses += len(keys) - len(values)
        return values

    def get_many_shared(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of the live entries among ``keys``; not counted in the statistics."""
        return self._find_many(keys, None)

    def _find_many(self, keys: Iterable[str], version: int | None) -> dict[str, Any]:
        row_keys = {key: self._row_key(key, version) for key in keys}
        found = self._attempt("get_many", self._read_many, list(row_keys.values()))
        if found is FAILED:
            return {}
        if self._notes_reads:
            for row_key in row_keys.values():
                self._note_read(row_key)
        values = {key: found.get(row_key.key, MISS) for key, row_key in row_keys.items()}
        return {key: value for key, value in values.items() if value is not MISS}

    def _read_many(self, row_keys: list[RowKey]) -> dict[bytes, Any]:
        """Return the values found, by full key."""
        trusted = [row_key for row_key in row_keys if not self._is_distrusted(row_key)]
        rows = self._table.read_many(trusted, now_ms())
        return {row[0]: self._unpacked(*row) for row in rows}

    def has_key(self, key: str, version: int | None = None) -> bool:
        row_key = self._row_key(key, version)
        found = self._attempt("has_key", self._table.exists, row_key, now_ms())
        return found is True and not self._is_distrusted(row_key)

    # Writing

    def set(  # type: ignore[override] # Django's has no result
        self,
        key: str,
        value: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        nx: bool = False,
        xx: bool = False,
    ) -> bool | None:
        """Store a value. Raises only serializer errors.

        ``nx``: only if there is no live entry. ``xx``: only if there is one. With one of them,
        return whether it was stored.
        """
        if nx or xx:
            return self._set_if(key, value, timeout, version, nx=nx, xx=xx)
        row_key = self._row_key(key, version)
        row = self._row(row_key, value, self._expiry(timeout))
        if row.expires == 0:
            self._delete(row_key)
        elif self._attempt("set", self._table.write, row) is FAILED:
            self._guard.drop_older([row_key])
        else:
            self._cell.sets += 1
            self._guard.after_write([row])
            if running_measurements:
                note_size(value, row.value_bytes)
        return None

    def set_many(
        self,
        data: Mapping[str, Any],
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[str]:
        """Store several values; return the keys that could not be stored."""
        expires = self._expiry(timeout)
        row_keys = {key: self._row_key(key, version) for key in data}
        if expires == 0:
            self.delete_many(data, version)
            return []
        rows = [self._row(row_key, data[key], expires) for key, row_key in row_keys.items()]
        written: MutableSet[int] = builtins.set()
        self._attempt("set_many", self._write_many, rows, written)
        failed = [key for key, row_key in row_keys.items() if row_key.id not in written]
        if failed:
            self._guard.drop_older([row_keys[key] for key in failed])
        if running_measurements:
            for key, row in zip(row_keys, rows, strict=True):
                if row.id in written:
                    note_size(data[key], row.value_bytes)
        return failed

    def _write_many(self, rows: list[Row], written: MutableSet[int]) -> None:
        """Write rows; add each written chunk to ``written``, so that it survives a failure."""
        for chunk in self._table.write_many(rows):
            written |= {row.id for row in chunk}
            self._cell.sets += len(chunk)
            self._guard.after_write(chunk)

    def add(
        self,
        key: str,
        value: Any,
        timeout: float | None = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> bool:
        """Store a value if there is no live entry; return whether it was stored."""
        row_key = self._row_key(key, version)
        row = self._row(row_key, value, self._expiry(timeout))
        if row.expires == 0:
            return not self.has_key(key, version)
        if self._is_distrusted(row_key) and not self._delete(row_key):
            return False
        added = self._attempt("add", self._table.add, row, row.used)
        if added is True:
            self._cell.sets += not key.endswith(LEASE_SUFFIX)
            self._guard.after_write([row])
        return added is True

    def touch(
        self, key: str, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Give a live entry a new timeout; return whether there was one."""
        row_key = self._row_key(key, version)
        expires = self._expiry(timeout)
        if self._is_distrusted(row_key):
            return False
        if expires == 0:
            return self._delete(row_key)
        return self._attempt("touch", self._touch_row, row_key, expires) is True

    def delete(self, key: str, version: int | None = None) -> bool:
        """Delete an entry; return whether there was one."""
        return self._delete(self._row_key(key, version))

    def delete_many(self, keys: Iterable[str], version: int | None = None) -> None:
        ids = [self._row_key(key, version).id for key in keys]
        if self._attempt("delete_many", self._table.delete_ids, ids) is FAILED:
            self._health.distrust(ids)

    def clear(self) -> None:
        """Delete every entry of this alias; other aliases in the same table keep theirs."""
        if self._attempt("clear", self._table.delete_all, b"") is FAILED:
            self._health.distrust_everything()

    def incr(
        self,
        key: str,
        delta: int = 1,
        version: int | None = None,
        *,
        ignore_key_check: bool = False,
    ) -> int:
        """Add to a number atomically and return the sum; the expiry stays.

        Raises ValueError if there is no live entry, and TypeError if its value is not a number.
        ``ignore_key_check``: count from 0 if there is no live entry.
        """
        if ignore_key_check:
            return self._incr_or_add(key, delta, version)
        row_key = self._row_key(key, version)
        total: Any = None
        if not self._is_distrusted(row_key):
            # The database can only add to a plain integer: it cannot renew a signature.
            is_plain = type(delta) is int and SMALLEST_INT64 < delta <= LARGEST_INT64
            if is_plain and not self._packer.signed:
                total = self._attempt("incr", self._table.increment, row_key, delta, now_ms())
            if total is None:
                total = self._attempt("incr", self._increment_by_replacing, row_key, delta)
        if total is FAILED or total is None:
            raise ValueError(f"Key '{key}' not found")
        return total  # type: ignore[no-any-return]  # a float where the value or delta is one

    def close(self, **kwargs: Any) -> None:
        """Do nothing: connections belong to the thread, not to the request that ends."""

    def _delete(self, row_key: RowKey) -> bool:
        """Delete a row; if that fails, distrust it."""
        deleted = self._attempt("delete", self._table.delete, row_key)
        if deleted is FAILED:
            self._health.distrust([row_key.id])
        return deleted is True

    # For the names of django-redis

    def _expires_at(self, key: str, version: int | None) -> float | None:
        row_key = self._row_key(key, version)
        found = self._attempt("has_key", self._table.expiry, row_key, now_ms())
        if found is FAILED or found is None or self._is_distrusted(row_key):
            return None
        return seconds_since_1970(found)

    def _expire_at(self, key: str, expires: float, version: int | None) -> bool:
        row_key = self._row_key(key, version)
        if self._is_distrusted(row_key):
            return False
        until = milliseconds(expires)
        return self._attempt("touch", self._touch_row, row_key, until) is True

    def _overwrite(self, key: str, value: Any, timeout: Any, version: int | None) -> bool:
        row_key = self._row_key(key, version)
        if self._is_distrusted(row_key):
            return False
        row = self._row(row_key, value, self._expiry(timeout))
        is_stored = self._attempt("set", self._table.overwrite, row, row.used)
        if is_stored is FAILED:
            self._guard.drop_older([row_key])
        elif is_stored:
            self._cell.sets += 1
            self._guard.after_write([row])
        return is_stored is True

    def _pages(self, search: Search, size: int) -> Iterator[list[str]]:
        """Yield the keys found; raises CacheUnavailable."""
        for found in self._found_rows(search, size):
            yield [key for _, key in found]

    def _delete_found(self, search: Search, size: int) -> int:
        """Delete the entries found; raises CacheUnavailable."""
        return sum(
            self._carry_out(self._table.delete_ids, [row.id for row, _ in found])
            for found in self._found_rows(search, size)
        )

    def _found_rows(self, search: Search, size: int) -> Iterator[list[tuple[FoundKey, str]]]:
        """Yield the rows found and their keys, one short statement after the other."""
        at: int | None = self._table.id_range.first
        start = search.start.encode("utf-8", "surrogatepass")
        while at is not None:
            rows, at = self._carry_out(self._table.live_keys, start, at, size, now_ms())
            keys = ((row, search.key_in(row.key.decode("utf-8", "surrogatepass"))) for row in rows)
            yield [(row, key) for row, key in keys if key is not None]

    def _make_lock(self, key: str, **options: Any) -> Lock:
        """Return a lock in the table. Its methods raise CacheUnavailable if the table fails."""
        return Lock(LockRow(self, key, self._carry_out), key, **options)

    # For operators: these methods raise CacheUnavailable.

    def clear_entries(self) -> int:
        """Delete every entry of this alias, expired ones too; return how many."""
        return self._carry_out(self._table.delete_all, b"")

    def delete_prefix(self, prefix: str, version: int | None = None) -> int:
        """Delete the entries whose key begins with ``prefix``; return how many."""
        return self._carry_out(self._table.delete_all, self._full_prefix(prefix, version))

    def delete_expired(self) -> int:
        """Delete the expired entries; return how many."""
        return self._carry_out(self._table.delete_all, b"", now_ms())

    def delete_unused(self, seconds: float) -> int:
        """Delete the entries not written or seen to be read for so long; return how many."""
        until = now_ms() - round(seconds * 1000)
        return self._carry_out(self._table.delete_all, b"", NEVER_MS, until)

    def count_unused(self, seconds: float) -> int:
        """Count what ``delete_unused`` would delete."""
        return self._carry_out(self._table.count, b"", NEVER_MS, now_ms() - round(seconds * 1000))

    def count_entries(
        self, prefix: str | None = None, *, expired_only: bool = False, version: int | None = None
    ) -> int:
        """Count entries, expired ones too, by reading the alias's whole range of the table."""
        made = b"" if prefix is None else self._full_prefix(prefix, version)
        return self._carry_out(self._table.count, made, now_ms() if expired_only else NEVER_MS)

    def describe(self) -> dict[str, int]:
        """Return the number of entries; with MAX_BYTES, also their bytes and that bound."""
        return self._carry_out(self._table.describe, self._evictor.max_bytes)

    def search_entries(self, text: str, first_id: int, rows: int) -> list[ListedRow]:
        """Return up to ``rows`` entries from ``first_id`` on with ``text`` in the full key."""
        return self._carry_out(
            self._table.search, text.encode("utf-8", "surrogatepass"), first_id, rows
        )

    def read_stored_entry(self, row_id: int) -> WholeRow | None:
        """Return a row as it is stored, or None."""
        return self._carry_out(self._table.read_row, row_id)

    def plain_data(self, row: WholeRow) -> tuple[int, bytes]:
        """Return the format and the bytes of a row, without signature and compression.

        Nothing is deserialised. Raises Undecodable if the bytes are unreadable, untrusted or too
        large.
        """
        data = self._packer.verified(row.key, row.expires, row.format, row.data)
        if len(data) > MOST_SHOWN_BYTES:
            raise Undecodable(f"it is larger than {MOST_SHOWN_BYTES} bytes")
        return row.format & KIND_MASK, self._packer.decompressed(row.format, data, MOST_SHOWN_BYTES)

    @property
    def first_id(self) -> int:
        """Return the lowest row id of this alias's range."""
        return self._table.id_range.first

    def _carry_out(self, operation: Callable[..., Answer], *arguments: Any) -> Answer:
        """Return the operation's result; raise CacheUnavailable if it fails."""
        try:
            return outside_event_loop(operation, *arguments)
        except DATABASE_ERRORS as error:
            if fault_of(error) is Fault.MISSING_TABLE:
                said = missing_table_text(self.alias, self._table.database)
                raise MissingTable(said) from error
            raise CacheUnavailable(
                f"CACHES[{self.alias!r}] in {place_of(self._table.database)} failed:"
                f" {type(error).__name__}: {error}"
            ) from error

    def _full_prefix(self, prefix: str, version: int | None) -> bytes:
        """Return the beginning of the full keys whose key begins with ``prefix``."""
        made = self.make_key(prefix, version)
        if not self.make_key(f"{prefix}more", version).startswith(made):
            raise CacheUnavailable(
                f"CACHES[{self.alias!r}] has a KEY_FUNCTION that does not keep the beginning of a"
                " key, so its entries cannot be found by prefix. Clear the whole cache instead."
            )
        return made.encode("utf-8", "surrogatepass")


def table_cache(alias: str) -> DatabaseCache:
    """Return the DatabaseCache of an alias in CACHES, or of a layer that LOCATION stands for."""
    layer = implied_layer(alias)
    if layer is None:
        return cast(DatabaseCache, caches[alias])
    params = {name: value for name, value in layer.params.items() if name != "BACKEND"}
    return DatabaseCache(params.pop("LOCATION"), params, table_alias(alias))
