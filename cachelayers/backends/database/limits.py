"""Tell how large a statement MySQL takes. Used by sessions."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

ESCAPED_BYTES = b"\0\n\r\x1a\"'\\"  # by MySQL's driver, each with one more byte
STATEMENT_BYTES = 64 * 2**10  # room for the statement itself


_largest_packets: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()


def largest_packet_bytes(connection: BaseDatabaseWrapper) -> int:
    """Return MySQL's max_allowed_packet, asked for once per connection."""
    connection.ensure_connection()
    known = _largest_packets.get(connection.connection)
    if known is None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@max_allowed_packet")
            [(known,)] = cursor.fetchall()
        _largest_packets[connection.connection] = known
    return int(known)


def packet_bytes(parameters: Sequence[Any]) -> int:
    """Return how large a statement with these parameters becomes, escaped and all."""
    blobs = [value for value in parameters if isinstance(value, bytes)]
    escapes = sum(blob.count(byte) for blob in blobs for byte in ESCAPED_BYTES)
    return sum(map(len, blobs)) + escapes + STATEMENT_BYTES
