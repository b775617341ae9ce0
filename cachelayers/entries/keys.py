"""Turn a cache key into the id of the table's row that holds its entry.

The database backend calls it for each operation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

ALIAS_BITS = 12
KEY_BITS = 64 - ALIAS_BITS
LOWEST_ID = -(2**63)

# The longest made key in bytes. Django only warns above 250 characters, because memcached refuses
# those; a table takes more, but a key of kilobytes is always a mistake.
MAX_KEY_BYTES = 2_000

# The end of a lease's key. All processes must see a lease at once, so no process keeps it in its
# memory or publishes it.
LEASE_SUFFIX = ":lease"

# The end of the key of a lock in the table.
LOCK_SUFFIX = ":cachelayers.lock"


class RowKey(NamedTuple):
    """The id of an entry's row, and the full key, which distinguishes a collision from a hit."""

    id: int
    key: bytes


@dataclass(frozen=True, slots=True)
class IdRange:
    """The ids of one alias, both ends included.

    The alias takes the id's highest 12 bits, the key the other 52. So the rows of an alias are
    adjacent in the B-tree: they can be cleared, counted and sampled without an index of their own
    and without reading other aliases' rows. At ten million entries of one alias, 52 bits expect
    0.01 collisions, and a collision is only a miss.
    """

    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1


def id_range_of(alias: str) -> IdRange:
    """Return the range of ids that belongs to ``alias``. Two aliases may share one (1 in 4,096)."""
    slot = hash64(alias.encode()) >> KEY_BITS
    first = LOWEST_ID + (slot << KEY_BITS)
    return IdRange(first, first + 2**KEY_BITS - 1)


def key_head_of(alias: str) -> bytes:
    """Return the bytes with which every stored key of ``alias``, and of no other one, begins."""
    return alias.encode() + b"\0"


def row_key_finder(alias: str) -> Callable[[str], RowKey]:
    """Return the function from a made key of ``alias`` to its RowKey.

    The function has no memo: in a mix of reads, misses and writes, a memo was slower than hashing,
    because it had left the processor's cache.
    """
    first_id, key_head = id_range_of(alias).first, key_head_of(alias)

    def row_key_of(made_key: str) -> RowKey:
        # surrogatepass: a Python string may hold lone surrogates, which must not raise here.
        key = key_head + made_key.encode("utf-8", "surrogatepass")
        return RowKey(first_id + (hash64(key) >> ALIAS_BITS), key)

    return row_key_of


def hash64(data: bytes) -> int:
    """Return an unsigned 64-bit hash that is the same in every process and on every host.

    BLAKE2b is uniform, in every Python, and, unlike MD5, allowed on FIPS hosts.
    """
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
