"""Fill a peer's table quickly before it is measured; the speed of filling is measured elsewhere."""

from __future__ import annotations

import base64
import itertools
import pickle
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.cache import caches
from django.db import connections, transaction

from benchmarks.environment import TIMEOUT_SECONDS
from benchmarks.peers import DISKCACHE, DJANGO, Peer

CHUNK = 500  # rows a statement: 500 rows of 7 parameters stay below every vendor's limit


def fill(peer: Peer, pairs: Iterable[tuple[str, Any]], *, size: str = "") -> None:
    """Put ``pairs`` into an empty table, in the fastest way that gives the same rows."""
    cache = peer.open(size=size)
    cache.clear()
    for chunk in split(pairs, CHUNK):
        if peer.name == DJANGO:
            insert_as_django(peer, chunk, size)
        elif peer.name == DISKCACHE:
            set_in_transaction(cache, chunk)
        else:
            cache.set_many(dict(chunk), TIMEOUT_SECONDS)


def insert_as_django(peer: Peer, pairs: list[tuple[str, Any]], size: str) -> None:
    """Write rows as Django's backend does: its set_many runs COUNT(*) before each of them."""
    table, database = peer.table_and_database(size)
    connection = connections[database]
    expires = (datetime.now(UTC) + timedelta(seconds=TIMEOUT_SECONDS)).replace(microsecond=0)
    stored_expires = connection.ops.adapt_datetimefield_value(expires)
    make_key = caches[f"{peer.cache_alias}{size}"].make_key
    rows = [
        (make_key(key), base64.b64encode(pickle.dumps(value)).decode("ascii"), stored_expires)
        for key, value in pairs
    ]
    with transaction.atomic(using=database), connection.cursor() as cursor:
        quoted = connection.ops.quote_name(table)
        insert = f"INSERT INTO {quoted} (cache_key, value, expires) VALUES (%s, %s, %s)"
        cursor.executemany(insert, rows)


def set_in_transaction(cache: Any, pairs: list[tuple[str, Any]]) -> None:
    """Write all entries in one transaction: diskcache commits each entry by default."""
    with cache._cache.transact():
        for key, value in pairs:
            cache.set(key, value, TIMEOUT_SECONDS)


def split(items: Iterable[Any], length: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, length)):
        yield chunk
