"""A signature covers the expiry of its entry; touch() and incr() renew it."""

from __future__ import annotations

import hmac
import time
from hashlib import sha256

import pytest
from django.conf import settings
from django.core.cache.backends.base import BaseCache
from django.db import models

from cachelayers.backends.layered.layers import make_layer
from cachelayers.backends.layered.layers.base import TOMBSTONE, LayerEntry
from cachelayers.backends.layered.layers.table import TableLayer
from cachelayers.models import Entry
from tests.contract.fixtures import Clock, MakeCache, each_table, unused_name

VALUES = ["text", b"bytes", 42, {"page": "text " * 1000}]


@pytest.fixture
def signed(make_cache: MakeCache, entries: models.Manager[Entry]) -> BaseCache:
    entries.all().delete()  # of other aliases in this table
    return make_cache(options={"SIGNED": True, "COMPRESSION": "zlib"})


def row_of(entries: models.Manager[Entry]) -> Entry:
    [row] = [row for row in entries.all() if bytes(row.full_key).endswith(b":key")]
    return row


@each_table
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_writer_to_the_table_cannot_prolong_an_entry(
    signed: BaseCache, entries: models.Manager[Entry], value: object
) -> None:
    signed.set("key", value, 10)
    row = row_of(entries)

    entries.filter(pk=row.pk).update(expires=row.expires + 1)

    assert signed.get("key") is None
    assert signed.get_many(["key"]) == {}
    assert signed.touch("key", 100) is False


@each_table
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_touch_signs_the_new_expiry(signed: BaseCache, clock: Clock, value: object) -> None:
    signed.set("key", value, 10)

    assert signed.touch("key", 100) is True

    clock.advance(50)
    assert signed.get("key") == value
    assert signed.touch("key", None) is True
    clock.advance(1000)
    assert signed.get_many(["key"]) == {"key": value}
    assert signed.touch("nobody", 100) is False


@each_table
def test_a_sum_keeps_its_signed_expiry(signed: BaseCache, clock: Clock) -> None:
    signed.set("counter", 1, 10)

    assert signed.incr("counter", 5) == 6

    clock.advance(9)
    assert signed.get("counter") == 6
    clock.advance(2)
    assert signed.get("counter") is None


@pytest.mark.parametrize("cache_alias", ["sqlite"], indirect=True)
def test_an_entry_that_was_signed_without_its_expiry_is_a_miss(
    signed: BaseCache, entries: models.Manager[Entry]
) -> None:
    signed.set("key", "old")
    row = row_of(entries)
    of_key = bytes(row.full_key) + bytes((row.format,))
    secret = sha256(b"cachelayers.entries.values\0" + settings.SECRET_KEY.encode()).digest()
    signature = hmac.digest(secret, len(of_key).to_bytes(4, "big") + of_key + b"old", "sha256")

    entries.filter(pk=row.pk).update(data=signature + b"old")

    assert signed.get("key") is None


@each_table
def test_a_layer_adds_over_a_tombstone_and_touches(make_cache: MakeCache, clock: Clock) -> None:
    name = unused_name()
    make_cache(name, options={"SIGNED": True})
    layer = make_layer(name, 1.0)
    assert isinstance(layer, TableLayer)
    layer.write_many({"key": TOMBSTONE})

    assert layer.add("key", LayerEntry("value", time.time() + 10)) is True
    assert layer.touch("key", time.time() + 100) is True

    clock.advance(50)
    assert layer.read_many(["key"])["key"].value == "value"
