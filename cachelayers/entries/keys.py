"""Turn a made cache key into the row that holds it. Called by the database backend."""

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

# What the key of a lease ends with: it is for all processes to see at once, so no process keeps it
# in its memory, and none has to be told of it.
LEASE_SUFFIX = ":lease"


class RowKey(NamedTuple):
    """Where one entry lives: its row's id, and the full key that tells a collision from a hit."""

    id: int
    key: bytes


@dataclass(frozen=True, slots=True)
class IdRange:
    """The ids of one alias, both ends included.

    The alias takes the id's highest 12 bits, the key the other 52. So an alias is one piece of the
    B-tree: it can be cleared, counted and sampled without an index of its own and without reading
    its neighbours in the same table. At ten million entries of one alias, 52 bits expect 0.01
    collisions, and a collision is only a miss.
    """

    first: int
    last: int

    @property
    def size(self) -> int:
        """How many ids there are."""
        return self.last - self.first + 1


def id_range_of(alias: str) -> IdRange:
    """Return the range of ids that belongs to ``alias``; two aliases may share one (1 in 4,096)."""
    slot = hash64(alias.encode()) >> KEY_BITS
    first = LOWEST_ID + (slot << KEY_BITS)
    return IdRange(first, first + 2**KEY_BITS - 1)


def key_head_of(alias: str) -> bytes:
    """Return what every stored key of ``alias`` begins with; no other alias's keys do."""
    return alias.encode() + b"\0"


def row_key_finder(alias: str) -> Callable[[str], RowKey]:
    """Return the function from a made key of ``alias`` to its place.

    It remembers nothing. Places of keys in use were kept in a memo once: in a mix of reads, misses
    and writes that was slower than to hash anew, because the memo had left the processor's cache.
    """
    first_id, key_head = id_range_of(alias).first, key_head_of(alias)

    def row_key_of(made_key: str) -> RowKey:
        # surrogatepass: a Python string may hold lone surrogates, and a key must not crash on them.
        key = key_head + made_key.encode("utf-8", "surrogatepass")
        return RowKey(first_id + (hash64(key) >> ALIAS_BITS), key)

    return row_key_of


def hash64(data: bytes) -> int:
    """Return an unsigned 64-bit hash that is the same in every process and on every host.

    BLAKE2b: uniform, in every Python, and not refused on FIPS hosts as MD5 is.
    """
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
