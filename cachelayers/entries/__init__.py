"""The stored form of entries: keys, envelopes, values, compression, signatures.

Backends and recalls use it. It reads no cache and no database.
"""

from cachelayers.entries.envelope import (
    ENVELOPE_TYPES,
    FORMAT,
    LENGTH,
    SECONDS,
    Envelope,
    is_envelope,
    pack_as_tuples,
    pack_envelope,
    unpack_envelope,
)
from cachelayers.entries.keys import (
    LEASE_SUFFIX,
    LOCK_SUFFIX,
    MAX_KEY_BYTES,
    IdRange,
    RowKey,
    id_range_of,
    key_head_of,
    row_key_finder,
)
from cachelayers.entries.values import (
    COMPRESSION_FLAGS,
    KIND_MASK,
    LARGEST_INT64,
    SIGNED,
    SMALLEST_INT64,
    ZLIB,
    ZSTD,
    Kind,
    PackedValue,
    Undecodable,
    ValuePacker,
    load_compression,
    load_serializer,
)

__all__ = [
    "COMPRESSION_FLAGS",
    "ENVELOPE_TYPES",
    "FORMAT",
    "KIND_MASK",
    "LARGEST_INT64",
    "LEASE_SUFFIX",
    "LENGTH",
    "LOCK_SUFFIX",
    "MAX_KEY_BYTES",
    "SECONDS",
    "SIGNED",
    "SMALLEST_INT64",
    "ZLIB",
    "ZSTD",
    "Envelope",
    "IdRange",
    "Kind",
    "PackedValue",
    "RowKey",
    "Undecodable",
    "ValuePacker",
    "id_range_of",
    "is_envelope",
    "key_head_of",
    "load_compression",
    "load_serializer",
    "pack_as_tuples",
    "pack_envelope",
    "row_key_finder",
    "unpack_envelope",
]
