"""Make bytes smaller and back. Called by values; touches no database."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from typing import NamedTuple


class Compression(NamedTuple):
    """One way to compress: two functions from bytes to bytes."""

    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes], bytes]


def load_compression(name: str) -> Compression:
    """Return the compression called ``name``; raise ImportError where its library is missing."""
    if name == "zstd":
        return load_zstd()
    # Level 1: HTML shrinks to a fifth at a third of the default level's time.
    return Compression(lambda data: zlib.compress(data, 1), zlib.decompress)


def load_zstd() -> Compression:
    """Return Zstandard from the standard library (Python 3.14) or from its backport."""
    try:
        zstd = importlib.import_module("compression.zstd")
    except ImportError:
        zstd = importlib.import_module("backports.zstd")
    return Compression(zstd.compress, zstd.decompress)
