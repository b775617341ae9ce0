"""Make bytes smaller and back. Called by values; touches no database."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

# The largest value that is compressed, and the most that bytes are decompressed to: a row of 64 KB
# may claim to be a thousand times as large, or more.
LARGEST_BYTES = 64 * 2**20


class TooLarge(ValueError):
    """Bytes that would become more than they may."""


class Compression(NamedTuple):
    """One way to compress: two functions from bytes to bytes.

    ``decompress`` also takes the largest number of bytes to return; it raises TooLarge for more.
    """

    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes, int], bytes]


def load_compression(name: str) -> Compression:
    """Return the compression called ``name``; raise ImportError where its library is missing."""
    if name == "zstd":
        zstd = load_zstd()
        return Compression(zstd.compress, decompressing_by(zstd.ZstdDecompressor))
    # Level 1: HTML shrinks to a fifth at a third of the default level's time.
    return Compression(lambda data: zlib.compress(data, 1), decompressing_by(zlib.decompressobj))


def load_zstd() -> Any:
    """Return Zstandard from the standard library (Python 3.14) or from its backport."""
    try:
        return importlib.import_module("compression.zstd")
    except ImportError:
        return importlib.import_module("backports.zstd")


def decompressing_by(make_decompressor: Callable[[], Any]) -> Callable[[bytes, int], bytes]:
    """Return the bounded function for a library's decompressor."""

    def decompress(data: bytes, largest: int) -> bytes:
        decompressor = make_decompressor()
        plain: bytes = decompressor.decompress(data, largest + 1)
        if len(plain) > largest:
            raise TooLarge(f"it is larger than {largest} bytes")
        if not decompressor.eof:
            raise EOFError("it is cut off")
        return plain

    return decompress
