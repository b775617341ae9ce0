"""Values of every kind that the contract tests write and read."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import fractions
import uuid
import zoneinfo
from dataclasses import dataclass
from typing import Any

from django.utils.safestring import mark_safe


@dataclass(frozen=True)
class Point:
    """An object of the caller's own class."""

    x: int
    y: int


class Colour(enum.Enum):
    """A member of the caller's own enumeration."""

    RED = "red"


class Level(enum.IntEnum):
    """A subclass of int, which must not be read as a plain number."""

    HIGH = 3


class TextSubclass(str):
    """A subclass of str, which must not be read as plain text."""

    __slots__ = ()


class Count(int):
    """A subclass of int of the caller's own."""


class Blob(bytes):
    """A subclass of bytes of the caller's own."""


UTC = dt.UTC

VALUES: dict[str, Any] = {
    "none": None,
    "true": True,
    "false": False,
    "zero": 0,
    "one": 1,
    "minus one": -1,
    "largest 64 bit": 2**63 - 1,
    "smallest 64 bit": -(2**63),
    "one above 64 bit": 2**63,
    "one below 64 bit": -(2**63) - 1,
    "huge number": 10**400,
    "huge negative number": -(10**400),
    "text that looks like a number": "1",
    "text that looks like a negative number": "-1",
    "bytes that look like a number": b"1",
    "empty text": "",
    "empty bytes": b"",
    "blank": " ",
    "null": "\x00",
    "null within": "a\x00b",
    "all ASCII": "".join(map(chr, range(128))),
    "all bytes": bytes(range(256)),
    "not UTF-8": b"\xff\xfe\x80",
    "umlauts": "äöüß",
    "emoji": "🗝👩\u200d🚀",
    "astral border": "\U0010ffff",
    "lone surrogate": "half \ud800 of a pair",
    "bytearray": bytearray(b"bytes"),
    "fraction": 1.5,
    "whole fraction": 1.0,
    "minus zero": -0.0,
    "infinity": float("inf"),
    "complex": 1 + 2j,
    "decimal": decimal.Decimal("1.10"),
    "fractions": fractions.Fraction(1, 3),
    "list": [1, "two", None],
    "empty list": [],
    "tuple": (1, 2),
    "dict": {"a": 1, 2: "b", None: []},
    "empty dict": {},
    "set": {1, 2},
    "frozenset": frozenset({1}),
    "nested": {"a": [{"b": ({"c"},)}]},
    "moment": dt.datetime(2024, 2, 29, 12, 30, 59, 999999, tzinfo=UTC),
    "moment of a zone": dt.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Paris")),
    "naive moment": dt.datetime(2024, 2, 29, 12, 30),  # noqa: DTZ001 # naive on purpose
    "day": dt.date(2024, 2, 29),
    "duration": dt.timedelta(days=-1, microseconds=1),
    "uuid": uuid.UUID(int=1),
    "dataclass": Point(1, 2),
    "enum": Colour.RED,
    "int enum": Level.HIGH,
    "str subclass": TextSubclass("word"),
    "int subclass": Count(3),
    "bytes subclass": Blob(b"blob"),
    "safe text": mark_safe("<b>bold</b>"),
    "class": Point,
    "function": len,
    "exception": ValueError,
}
