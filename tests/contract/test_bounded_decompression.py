"""A few bytes that claim a huge size are a miss; a large value of our own is not."""

from __future__ import annotations

import tracemalloc
import zlib

import pytest
from django.core.cache.backends.base import BaseCache
from django.db import connections

from cachelayers.backends.database.cache import MOST_SHOWN_BYTES
from cachelayers.entries.values import LARGEST_BYTES, Undecodable, ValuePacker, load_compression
from tests.contract.fixtures import MakeCache

KEY = b"key"


def packer(compression: str) -> ValuePacker:
    return ValuePacker(
        serializer="pickle", compression=compression, compression_min_bytes=0, signed=False
    )


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_bytes_that_claim_a_huge_size_are_undecodable(compression: str) -> None:
    small = load_compression(compression).compress(bytes(LARGEST_BYTES + 1))
    flag = packer(compression).compression_flag
    tracemalloc.start()

    with pytest.raises(Undecodable, match="larger"):
        packer(compression).unpack(KEY, 0, flag | 1, None, small)

    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 3 * LARGEST_BYTES


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
@pytest.mark.parametrize("size", [0, 1, 100_000, LARGEST_BYTES, LARGEST_BYTES + 1])
def test_a_packed_value_can_be_unpacked(compression: str, size: int) -> None:
    value = bytes(size)

    packed = packer(compression).pack(KEY, value, 0)

    assert packer(compression).unpack(KEY, 0, *packed) == value


def test_truncated_bytes_are_undecodable() -> None:
    small = zlib.compress(b"a page" * 1000)[:-9]

    with pytest.raises(Undecodable, match="cut off"):
        packer("zlib").unpack(KEY, 0, packer("zlib").compression_flag | 1, None, small)


@pytest.mark.parametrize("cache_alias", ["sqlite"], indirect=True)
def test_an_operator_is_not_shown_undecodable_bytes(make_cache: MakeCache) -> None:
    cache: BaseCache = make_cache(options={"COMPRESSION": "zlib"})
    cache.set("page", "x" * (MOST_SHOWN_BYTES + 1))
    operated: object = cache
    row_key = cache._row_key("page", None)  # type: ignore[attr-defined] # the row's id
    row = operated.read_stored_entry(row_key.id)  # type: ignore[attr-defined] # a DatabaseCache

    with pytest.raises(Undecodable, match="larger"):
        operated.plain_data(row)  # type: ignore[attr-defined] # as above

    assert len(cache.get("page")) == MOST_SHOWN_BYTES + 1
    connections.close_all()
