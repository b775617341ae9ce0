"""Spell values: each with its type, so that no two have one spelling. Touches no database.

The end of every spelling is known from its beginning, so they may stand beside each other. What has
none that is the same in every process is refused: a wrong guess would show one caller's value to
another.
"""

from __future__ import annotations

import enum
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from types import EllipsisType, NoneType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Model
from django.utils.functional import LazyObject, Promise, empty

STATIC_C_TYPE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE: no class statement makes one


class Unstable(Exception):
    """A value has no spelling; the text says why, as the end of a sentence."""


class Unsaved(Unstable):
    """A model instance says itself that no database holds it."""


class Draft(Unsaved):
    """A row has a key, and was not read from a database: its values may be an editor's alone."""


def spell(value: object) -> str:
    """Return the spelling of a value, which no value of another kind or content has."""
    encoder = ENCODERS.get(type(value))
    return encoder(value) if encoder is not None else spell_unlisted(value)


def spell_str(value: str) -> str:
    return f"s{len(value)}:{value}"


def spell_int(value: int) -> str:
    return f"i{value:x};"  # hexadecimal: Python refuses to write more than 4,300 decimal digits


def spell_float(value: float) -> str:
    return f"f{struct.pack('>d', value).hex()}"  # bits: NaN is NaN, and -0.0 is not 0.0


def spell_complex(value: complex) -> str:
    return f"j{spell_float(value.real)}{spell_float(value.imag)}"


def spell_decimal(value: Decimal) -> str:
    return f"d{Decimal.__str__(value).upper()};"  # the context may ask for a small e


def spell_bytes(value: bytes) -> str:
    return f"b{len(value)}:{value.decode('latin-1')}"


def spell_bytearray(value: bytearray) -> str:
    return f"B{len(value)}:{value.decode('latin-1')}"


def spell_tuple(values: Iterable[object]) -> str:
    return spell_all("t", [spell(value) for value in values])


def spell_list(values: Iterable[object]) -> str:
    return spell_all("l", [spell(value) for value in values])


# Sorted: the order of a set differs between processes, and {"a": 1, "b": 2} is {"b": 2, "a": 1}.
def spell_set(values: Iterable[object]) -> str:
    return spell_all("e", sorted(spell(value) for value in values))


def spell_frozenset(values: Iterable[object]) -> str:
    return spell_all("E", sorted(spell(value) for value in values))


def spell_dict(values: Mapping[Any, object]) -> str:
    return spell_all("m", sorted(spell(key) + spell(value) for key, value in values.items()))


def spell_all(kind: str, spellings: list[str]) -> str:
    return f"{kind}{len(spellings)}:{''.join(spellings)}"


def spell_date(value: date) -> str:
    return f"D{date.isoformat(value)};"


def spell_datetime(value: datetime) -> str:
    return f"T{datetime.isoformat(value)};{value.fold}{spell(value.tzinfo)}"


def spell_time(value: time) -> str:
    return f"h{time.isoformat(value)};{value.fold}{spell(value.tzinfo)}"


def spell_timedelta(value: timedelta) -> str:
    return f"p{value.days},{value.seconds},{value.microseconds};"


def spell_timezone(value: timezone) -> str:
    return f"z{spell(value.utcoffset(None))}{spell(value.tzname(None))}"


def spell_zoneinfo(value: ZoneInfo) -> str:
    if value.key is None:
        raise Unstable("a ZoneInfo that was read from a file has no name")
    return f"Z{spell_str(value.key)}"


def spell_uuid(value: UUID) -> str:
    return f"u{value.int:x};"


def spell_fraction(value: Fraction) -> str:
    return f"q{value.numerator:x}/{value.denominator:x};"


def spell_range(value: range) -> str:
    return f"r{value.start:x},{value.stop:x},{value.step:x};"


def spell_slice(value: slice) -> str:
    return f"S{spell(value.start)}{spell(value.stop)}{spell(value.step)}"


def spell_path(value: Any) -> str:
    return f"F{spell_str(type(value).__name__)}{spell_str(str(value))}"


# Those whose instances may have a class of the user's, and the way to the value below it. What the
# class has overridden is not asked: it may say anything.
PLAIN_VALUE: dict[type, Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__index__,
    float: float.__float__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    tuple: lambda value: tuple(tuple.__iter__(value)),
    list: lambda value: list(list.__iter__(value)),
    dict: lambda value: dict(dict.items(value)),
    set: lambda value: set(set.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
    datetime: lambda value: value,
    date: lambda value: value,
    time: lambda value: value,
    timedelta: lambda value: value,
    Decimal: lambda value: value,
    UUID: lambda value: value,
}

ENCODERS: dict[type, Callable[[Any], str]] = {
    NoneType: lambda value: "N",
    EllipsisType: lambda value: "X",
    bool: lambda value: "y" if value else "n",
    str: spell_str,
    int: spell_int,
    float: spell_float,
    complex: spell_complex,
    Decimal: spell_decimal,
    Fraction: spell_fraction,
    bytes: spell_bytes,
    bytearray: spell_bytearray,
    tuple: spell_tuple,
    list: spell_list,
    set: spell_set,
    frozenset: spell_frozenset,
    dict: spell_dict,
    date: spell_date,
    datetime: spell_datetime,
    time: spell_time,
    timedelta: spell_timedelta,
    timezone: spell_timezone,
    ZoneInfo: spell_zoneinfo,
    UUID: spell_uuid,
    range: spell_range,
    slice: spell_slice,
    PosixPath: spell_path,
    PurePosixPath: spell_path,
    WindowsPath: spell_path,
    PureWindowsPath: spell_path,
}


# Everything else


def spell_unlisted(value: Any) -> str:
    """Spell a value whose very type is not listed."""
    cls = type(value)  # not isinstance(): a lazy object pretends to be what it stands for
    if issubclass(cls, LazyObject):
        return spell(unwrap_lazy_object(value))
    if issubclass(cls, Promise):
        return spell_lazy_text(value)
    if issubclass(cls, enum.Enum):
        return spell_member(value)
    if issubclass(cls, Model):
        return spell_instance(value)
    if issubclass(cls, type):
        return spell_class(value)
    return spell_subclass(value)


def unwrap_lazy_object(value: Any) -> object:
    """Return what a lazy object, such as request.user, stands for: it has the same key.

    A lazy object may stand for another one: middleware wraps request.user, which is one.
    """
    while issubclass(type(value), LazyObject):
        if value._wrapped is empty:
            value._setup()
        value = value._wrapped
    found: object = value
    return found


def spell_lazy_text(value: Promise) -> str:
    """Spell a lazy translation or URL: what it says now, in the active language."""
    if not hasattr(type(value), "casefold"):
        raise Unstable("it is lazy, and no text")
    return f"P{spell(str(value))}"


def spell_member(value: enum.Enum) -> str:
    # A flag is any sum of members, and has no name of its own.
    content = value._value_ if isinstance(value, enum.Flag) else value._name_
    return f"M{spell_str(path_of_class(type(value)))}{spell(content)}"


def spell_instance(value: Model) -> str:
    """Spell a saved row: its model, database and primary key, whatever its fields hold."""
    key = value.pk
    if value._state.adding or key is None or (isinstance(key, tuple) and None in key):
        raise Unsaved("it has not been saved")
    return f"{beginning_of_row(type(value), value._state.db)}{spell(key)}"


@lru_cache(maxsize=1024)
def beginning_of_row(model: type[Model], database: str | None) -> str:
    """Spell what the rows of a model in a database have in common."""
    if database is None:
        # As an editor's preview of what is not published: it has the key of a row, not its values.
        raise Draft("it was not read from a database")
    return f"o{spell_str(model._meta.label)}{spell(database)}"


def spell_class(value: type) -> str:
    return f"C{spell_str(path_of_class(value))}"


def spell_subclass(value: Any) -> str:
    """Spell an instance of a user's class that is a str, dict, tuple ... with what it adds."""
    for cls in type(value).__mro__:
        if cls in PLAIN_VALUE:
            plain = ENCODERS[cls](PLAIN_VALUE[cls](value))
            added = object.__getstate__(value)  # its attributes
            return f"c{spell_str(path_of_class(type(value)))}{plain}{spell(added)}"
        if cls.__flags__ & STATIC_C_TYPE or hasattr(cls, "n_unnamed_fields"):
            break  # written in C: it may hold what cannot be seen, as pandas.Timestamp does
    raise Unstable(f"a {type(value).__qualname__} has no stable key")


# Names


def path_of(named: Any) -> str:
    """Return ``module:qualname`` of a function or class."""
    module: str = named.__module__
    if module == "__main__":
        module = name_of_main()
    return f"{module}:{named.__qualname__}"


def name_of_main() -> str:
    """Return what tells the program that runs from others, which are all called __main__."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)  # python -m package.module: its name to those who import it
    return f"__main__[{getattr(main, '__file__', '')}]"


def path_of_class(cls: type) -> str:
    """Return the path of a class; Unstable where another class can have the same one."""
    if find_by_name(cls.__module__, cls.__qualname__) is not cls:
        raise Unstable(f"the class {cls.__qualname__} cannot be found under its name")
    return path_of(cls)


def find_by_name(module: str, qualname: str) -> Any:
    """Return what stands under a name in an imported module, or None."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found
