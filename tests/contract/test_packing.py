"""Serializers, compression and signatures: what each stores, reads, refuses and reports."""

from __future__ import annotations

import os
import pickle
import zlib
from typing import Any

import pytest
from django.core.cache.backends.base import BaseCache
from django.db import models
from django.test import override_settings

from cachelayers.models import Entry
from tests.contract.fixtures import MakeCache, each_table, unused_name
from tests.contract.values import VALUES, Point

pytestmark = each_table

HTML = "<li class='airport'>Zürich</li>\n" * 1000
LONG_VALUES: list[Any] = [HTML, HTML.encode(), {"page": HTML}, list(range(5000))]
COMPRESSIONS = [None, "zlib", "zstd"]

unpacked: list[object] = []


class Trap:
    """Leaves a trace when it is unpickled, as an attacker's pickle would."""

    def __reduce__(self) -> tuple[Any, ...]:
        return unpacked.append, ("sprung",)


class Explosive:
    """Can be packed, but not unpacked."""

    def __reduce__(self) -> tuple[Any, ...]:
        return explode, ()


def explode() -> None:
    raise RuntimeError("this class has changed since")


class ReversedPickle:
    """A serializer of the caller's own."""

    def dumps(self, value: Any) -> bytes:
        return pickle.dumps(value)[::-1]

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data[::-1])


reversed_pickle = ReversedPickle()


def the_row(entries: models.Manager[Entry], cache: BaseCache, key: str) -> Entry:
    made_key = cache.make_key(key).encode()
    (row,) = [row for row in entries.all() if bytes(row.full_key).endswith(b"\0" + made_key)]
    return row


def rewrite(entries: models.Manager[Entry], row: Entry, **columns: object) -> None:
    changed = entries.filter(pk=row.pk).update(**columns)
    assert changed == 1


# Compression


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("value", LONG_VALUES, ids=["str", "bytes", "dict", "list"])
def test_long_values_come_back_from_every_compression(
    make_cache: MakeCache, compression: str | None, value: object
) -> None:
    cache = make_cache(options={"COMPRESSION": compression})

    cache.set("value", value)
    cache.set_many({"many": value})

    assert cache.get("value") == value
    assert type(cache.get("value")) is type(value)
    assert cache.get_many(["many"]) == {"many": value}


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
@pytest.mark.parametrize("value", LONG_VALUES[:3], ids=["str", "bytes", "dict"])
def test_compression_makes_rows_small(
    make_cache: MakeCache, entries: models.Manager[Entry], compression: str, value: object
) -> None:
    cache = make_cache(options={"COMPRESSION": compression})

    cache.set("value", value)

    row = the_row(entries, cache, "value")
    assert row.data is not None
    assert len(row.data) < len(HTML) / 10


def test_nothing_is_compressed_unless_asked_for(
    cache: BaseCache, entries: models.Manager[Entry]
) -> None:
    cache.set("value", HTML)

    assert bytes(the_row(entries, cache, "value").data or b"") == HTML.encode()


def test_short_values_are_not_compressed(
    make_cache: MakeCache, entries: models.Manager[Entry]
) -> None:
    cache = make_cache(options={"COMPRESSION": "zlib", "COMPRESSION_MIN_BYTES": 500})

    cache.set_many({"short": "x" * 499, "long": "x" * 500})

    assert bytes(the_row(entries, cache, "short").data or b"") == b"x" * 499
    assert len(the_row(entries, cache, "long").data or b"") < 100
    assert cache.get_many(["short", "long"]) == {"short": "x" * 499, "long": "x" * 500}


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_noise_never_grows(
    make_cache: MakeCache, entries: models.Manager[Entry], compression: str
) -> None:
    noise = os.urandom(5000)
    cache = make_cache(options={"COMPRESSION": compression})

    cache.set("noise", noise)

    assert len(the_row(entries, cache, "noise").data or b"") == 5000
    assert cache.get("noise") == noise


@pytest.mark.parametrize("writing", COMPRESSIONS)
@pytest.mark.parametrize("reading", COMPRESSIONS)
def test_every_compression_reads_values_of_the_others(
    make_cache: MakeCache, writing: str | None, reading: str | None
) -> None:
    same_name = unused_name()
    writer = make_cache(same_name, options={"COMPRESSION": writing})
    values = {f"value-{number}": value for number, value in enumerate(LONG_VALUES)}
    writer.set_many(values)

    reader = make_cache(same_name, options={"COMPRESSION": reading})

    assert reader.get_many(values) == values


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_a_compressed_value_that_is_damaged_is_a_miss(
    make_cache: MakeCache,
    entries: models.Manager[Entry],
    compression: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = make_cache(options={"COMPRESSION": compression})
    cache.set("value", HTML)
    row = the_row(entries, cache, "value")
    assert row.data is not None
    rewrite(entries, row, data=bytes(row.data)[: len(row.data) // 2])

    found = cache.get("value", "missing")

    assert found == "missing"
    assert cache.get_many(["value"]) == {}
    assert "value" in caplog.text


# Serializers


def test_a_serializer_of_ones_own_is_named_by_its_path(
    make_cache: MakeCache, entries: models.Manager[Entry]
) -> None:
    cache = make_cache(options={"SERIALIZER": "tests.contract.test_packing.reversed_pickle"})

    cache.set("value", Point(1, 2))

    assert cache.get("value") == Point(1, 2)
    assert bytes(the_row(entries, cache, "value").data or b"") == pickle.dumps(Point(1, 2))[::-1]


def test_a_serializer_may_be_a_class(make_cache: MakeCache) -> None:
    cache = make_cache(options={"SERIALIZER": "tests.contract.test_packing.ReversedPickle"})

    cache.set("value", Point(1, 2))

    assert cache.get("value") == Point(1, 2)


def test_json_stores_json(make_cache: MakeCache, entries: models.Manager[Entry]) -> None:
    cache = make_cache(options={"SERIALIZER": "json"})

    cache.set("value", {"name": "Zürich", "runways": [1, 2.5, None, True]})

    assert cache.get("value") == {"name": "Zürich", "runways": [1, 2.5, None, True]}
    assert bytes(the_row(entries, cache, "value").data or b"").startswith(b"{")


@pytest.mark.parametrize("name", ["tuple", "moment", "set", "dict", "decimal", "safe text"])
def test_json_refuses_values_that_it_would_change(make_cache: MakeCache, name: str) -> None:
    cache = make_cache(options={"SERIALIZER": "json"})

    with pytest.raises(TypeError, match="json"):
        cache.set("value", VALUES[name])

    assert cache.get("value", "missing") == "missing"


def test_an_entry_of_another_serializer_is_a_miss_and_never_unpickled(
    make_cache: MakeCache, caplog: pytest.LogCaptureFixture
) -> None:
    unpacked.clear()
    same_name = unused_name()
    make_cache(same_name).set_many({"trap": Trap(), "text": "text", "number": 1})

    reader = make_cache(same_name, options={"SERIALIZER": "json"})

    assert reader.get("trap", "missing") == "missing"
    assert unpacked == []
    assert "trap" in caplog.text
    assert reader.get_many(["trap", "text", "number"]) == {"text": "text", "number": 1}


def test_a_value_that_cannot_be_unpacked_is_a_reported_miss(
    make_cache: MakeCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make_cache()
    cache.set_many({"explosive": Explosive(), "fine": [1]})

    found = cache.get("explosive", "missing")

    assert found == "missing"
    assert cache.get_many(["explosive", "fine"]) == {"fine": [1]}
    assert "explosive" in caplog.text
    assert "this class has changed since" in caplog.text


def test_get_or_set_recomputes_an_undecodable_value(make_cache: MakeCache) -> None:
    cache = make_cache()
    cache.set("value", Explosive())

    returned = cache.get_or_set("value", lambda: 42)

    assert returned == 42


def test_set_replaces_an_undecodable_value(make_cache: MakeCache) -> None:
    cache = make_cache()
    cache.set("value", Explosive())

    cache.set("value", 42)

    assert cache.get("value") == 42


@pytest.mark.parametrize(
    "columns",
    [
        {"data": b"", "format": 3},
        {"data": b"not a pickle", "format": 3},
        {"data": b"\xff\xfe", "format": 2},
        {"data": None, "format": 3},
        {"data": b"1", "format": 15},
        {"data": b"1", "format": 300},
        {"data": b"1", "format": -1},
        {"data": b"1", "format": 0, "number": None},
        {"data": None, "format": 0, "number": None},
        {"data": zlib.compress(b"x"), "format": 3 | 0x10 | 0x20},
    ],
    ids=repr,
)
def test_a_row_of_nonsense_is_a_reported_miss(
    make_cache: MakeCache,
    entries: models.Manager[Entry],
    columns: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = make_cache()
    cache.set("nonsense", "value")
    rewrite(entries, the_row(entries, cache, "nonsense"), **columns)

    found = cache.get("nonsense", "missing")

    assert found == "missing"
    assert "nonsense" in caplog.text


# Signatures


def test_signed_values_come_back_with_their_types(make_cache: MakeCache) -> None:
    cache = make_cache(options={"SIGNED": True, "COMPRESSION": "zlib", "COMPRESSION_MIN_BYTES": 1})

    for name, value in VALUES.items():
        cache.set("value", value)

        stored = cache.get("value", "missing")
        assert stored == value, name
        assert type(stored) is type(value), name


def test_a_signed_counter_counts(make_cache: MakeCache) -> None:
    cache = make_cache(options={"SIGNED": True})
    cache.set("counter", 41)

    assert cache.incr("counter") == 42
    assert cache.decr("counter", 50) == -8
    assert cache.get("counter") == -8


@pytest.mark.parametrize("value", ["text " * 10, b"bytes", [1, 2], 42], ids=repr)
def test_one_flipped_bit_is_a_reported_miss(
    make_cache: MakeCache,
    entries: models.Manager[Entry],
    value: object,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for position in (0, 16, 31, 32, -1):
        cache = make_cache(options={"SIGNED": True})
        cache.set("signed", value)
        row = the_row(entries, cache, "signed")
        data = bytearray(row.data or b"")
        data[position] ^= 1
        rewrite(entries, row, data=bytes(data))
        caplog.clear()

        found = cache.get("signed", "missing")

        assert found == "missing"
        assert cache.get_many(["signed"]) == {}
        assert "signed" in caplog.text
        cache.clear()


def test_a_format_that_was_tampered_with_is_a_miss(
    make_cache: MakeCache, entries: models.Manager[Entry]
) -> None:
    cache = make_cache(options={"SIGNED": True})

    for flipped in range(15):
        cache.set("signed", pickle.dumps(Trap()))
        row = the_row(entries, cache, "signed")
        rewrite(entries, row, format=row.format ^ (1 << flipped))

        assert cache.get("signed", "missing") == "missing"


def test_a_signed_value_cannot_move_to_another_key(
    make_cache: MakeCache, entries: models.Manager[Entry]
) -> None:
    cache = make_cache(options={"SIGNED": True})
    cache.set_many({"user": "guest", "admin": "root"})
    user, admin = the_row(entries, cache, "user"), the_row(entries, cache, "admin")

    rewrite(entries, user, data=admin.data, format=admin.format)

    assert cache.get("user", "missing") == "missing"
    assert cache.get("admin") == "root"


def test_a_row_cannot_take_the_key_of_another(
    make_cache: MakeCache, entries: models.Manager[Entry]
) -> None:
    cache = make_cache(options={"SIGNED": True})
    cache.set_many({"user": "guest", "admin": "root"})
    user, admin = the_row(entries, cache, "user"), the_row(entries, cache, "admin")
    stolen = bytes(user.full_key)
    entries.filter(pk=user.pk).delete()

    entries.create(
        id=user.pk,
        full_key=stolen,
        expires=admin.expires,
        used=admin.used,
        format=admin.format,
        number=admin.number,
        data=bytes(admin.data or b""),
    )

    assert cache.get("user", "missing") == "missing"


@pytest.mark.parametrize(
    "value", [Trap(), "text", b"bytes", 42], ids=["trap", "str", "bytes", "int"]
)
def test_with_signing_an_unsigned_value_is_a_miss_and_never_unpickled(
    make_cache: MakeCache, value: object
) -> None:
    unpacked.clear()
    same_name = unused_name()
    make_cache(same_name).set("value", value)

    reader = make_cache(same_name, options={"SIGNED": True})

    assert reader.get("value", "missing") == "missing"
    assert reader.get_many(["value"]) == {}
    assert unpacked == []
    with pytest.raises(ValueError, match="value"):
        reader.incr("value")


def test_a_tampered_pickle_is_never_unpickled(
    make_cache: MakeCache, entries: models.Manager[Entry]
) -> None:
    unpacked.clear()
    cache = make_cache(options={"SIGNED": True})
    cache.set("value", [1])
    row = the_row(entries, cache, "value")

    for data in (pickle.dumps(Trap()), bytes(row.data or b"")[:32] + pickle.dumps(Trap()), b""):
        rewrite(entries, row, data=data)
        assert cache.get("value", "missing") == "missing"
        assert cache.get_many(["value"]) == {}

    assert unpacked == []


def test_another_secret_does_not_read_signed_values(make_cache: MakeCache) -> None:
    cache = make_cache(options={"SIGNED": True})
    with override_settings(SECRET_KEY="one", SECRET_KEY_FALLBACKS=[]):
        cache.set_many({"text": "text", "number": 42})

    with override_settings(SECRET_KEY="two", SECRET_KEY_FALLBACKS=[]):
        found = cache.get_many(["text", "number"])

    assert found == {}


def test_values_of_a_retired_secret_are_still_read(make_cache: MakeCache) -> None:
    cache = make_cache(options={"SIGNED": True})
    with override_settings(SECRET_KEY="one", SECRET_KEY_FALLBACKS=[]):
        cache.set_many({"text": "text", "number": 42})

    with override_settings(SECRET_KEY="two", SECRET_KEY_FALLBACKS=["zero", "one"]):
        found = cache.get_many(["text", "number"])

    assert found == {"text": "text", "number": 42}


def test_values_written_after_a_rotation_use_the_new_secret(make_cache: MakeCache) -> None:
    cache = make_cache(options={"SIGNED": True})
    with override_settings(SECRET_KEY="two", SECRET_KEY_FALLBACKS=["one"]):
        cache.set("text", "text")

    with override_settings(SECRET_KEY="two", SECRET_KEY_FALLBACKS=[]):
        found = cache.get("text")

    assert found == "text"


def test_signed_values_are_still_read_when_signing_is_turned_off(make_cache: MakeCache) -> None:
    same_name = unused_name()
    make_cache(same_name, options={"SIGNED": True}).set_many({"text": "text", "list": [1]})

    reader = make_cache(same_name, options={"SIGNED": False})

    assert reader.get_many(["text", "list"]) == {"text": "text", "list": [1]}
