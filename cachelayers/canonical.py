"""Compute the canonical form of values and arguments. Two different values never share one.

Keys of cached functions and of fragments are made from it.
"""

from __future__ import annotations

import enum
import inspect
import re
import struct
import sys
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from types import EllipsisType, NoneType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Model
from django.utils.functional import LazyObject, Promise, empty

STATIC_C_TYPE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE: not defined by a class statement


class Unstable(Exception):
    """A value has no canonical form. The text says why, as the end of a sentence."""


class Unsaved(Unstable):
    """A model instance is not saved, as far as it says itself."""


class Draft(Unsaved):
    """A row has a key but was not read from a database: maybe only its editor may see it."""


def canonical_form(value: object) -> str:
    """Return the canonical form of a value, which no other kind or content shares."""
    encoder = ENCODERS.get(type(value))
    return encoder(value) if encoder is not None else canonical_unlisted(value)


def canonical_str(value: str) -> str:
    return f"s{len(value)}:{value}"


def canonical_float(value: float) -> str:
    return f"f{struct.pack('>d', value).hex()}"  # bits: NaN is NaN, and -0.0 is not 0.0


def canonical_all(kind: str, forms: list[str]) -> str:
    return f"{kind}{len(forms)}:{''.join(forms)}"


def canonical_zoneinfo(value: ZoneInfo) -> str:
    if value.key is None:
        raise Unstable("a ZoneInfo that was read from a file has no name")
    return f"Z{canonical_str(value.key)}"


def canonical_path(value: Any) -> str:
    return f"F{canonical_str(type(value).__name__)}{canonical_str(str(value))}"


# Types that users may subclass, with the way to their plain value. Methods that the subclass has
# overridden are not called: they may return anything.
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
    str: canonical_str,
    int: lambda value: f"i{value:x};",  # Python refuses to write more than 4,300 decimal digits
    float: canonical_float,
    complex: lambda value: f"j{canonical_float(value.real)}{canonical_float(value.imag)}",
    # The context may ask for a small e.
    Decimal: lambda value: f"d{Decimal.__str__(value).upper()};",
    Fraction: lambda value: f"q{value.numerator:x}/{value.denominator:x};",
    bytes: lambda value: f"b{len(value)}:{value.decode('latin-1')}",
    bytearray: lambda value: f"B{len(value)}:{value.decode('latin-1')}",
    tuple: lambda values: canonical_all("t", [canonical_form(value) for value in values]),
    list: lambda values: canonical_all("l", [canonical_form(value) for value in values]),
    # Sorted: the order of a set differs between processes, and {1: 2, 3: 4} is {3: 4, 1: 2}.
    set: lambda values: canonical_all("e", sorted(map(canonical_form, values))),
    frozenset: lambda values: canonical_all("E", sorted(map(canonical_form, values))),
    dict: lambda values: canonical_all(
        "m", sorted(canonical_form(key) + canonical_form(value) for key, value in values.items())
    ),
    date: lambda value: f"D{date.isoformat(value)};",
    datetime: lambda value: (
        f"T{datetime.isoformat(value)};{value.fold}{canonical_form(value.tzinfo)}"
    ),
    time: lambda value: f"h{time.isoformat(value)};{value.fold}{canonical_form(value.tzinfo)}",
    timedelta: lambda value: f"p{value.days},{value.seconds},{value.microseconds};",
    timezone: lambda value: (
        f"z{canonical_form(value.utcoffset(None))}{canonical_form(value.tzname(None))}"
    ),
    ZoneInfo: canonical_zoneinfo,
    UUID: lambda value: f"u{value.int:x};",
    range: lambda value: f"r{value.start:x},{value.stop:x},{value.step:x};",
    slice: lambda value: (
        f"S{canonical_form(value.start)}{canonical_form(value.stop)}{canonical_form(value.step)}"
    ),
    PosixPath: canonical_path,
    PurePosixPath: canonical_path,
    WindowsPath: canonical_path,
    PureWindowsPath: canonical_path,
}


def canonical_unlisted(value: Any) -> str:
    """Return the canonical form of a value whose exact type is not in ENCODERS."""
    cls = type(value)  # not isinstance(): a lazy object pretends to be what it stands for
    if issubclass(cls, LazyObject):
        return canonical_form(unwrap_lazy_object(value))
    if issubclass(cls, Promise):
        return canonical_lazy_text(value)
    if issubclass(cls, enum.Enum):
        return canonical_member(value)
    if issubclass(cls, Model):
        return canonical_instance(value)
    if issubclass(cls, type):
        return canonical_class(value)
    return canonical_subclass(value)


def unwrap_lazy_object(value: Any) -> object:
    """Return the object behind a lazy object such as request.user. Both have the same key.

    That object may be lazy too: middleware may wrap request.user.
    """
    while issubclass(type(value), LazyObject):
        if value._wrapped is empty:
            value._setup()
        value = value._wrapped
    found: object = value
    return found


def canonical_lazy_text(value: Promise) -> str:
    """Return the form of a lazy translation or URL: its present text in the active language."""
    if not hasattr(type(value), "casefold"):
        raise Unstable("it is lazy, and not a text")
    return f"P{canonical_form(str(value))}"


def canonical_member(value: enum.Enum) -> str:
    # A flag may be a sum of members, which has no name.
    content = value._value_ if isinstance(value, enum.Flag) else value._name_
    return f"M{canonical_str(path_of_class(type(value)))}{canonical_form(content)}"


def canonical_instance(value: Model) -> str:
    """Return the form of a saved row: its model, database and primary key, without other fields."""
    key = value.pk
    if value._state.adding or key is None or (isinstance(key, tuple) and None in key):
        raise Unsaved("it has not been saved")
    return f"{canonical_row_prefix(type(value), value._state.db)}{canonical_form(key)}"


@lru_cache(maxsize=1024)
def canonical_row_prefix(model: type[Model], database: str | None) -> str:
    """Return the beginning that the forms of a model's rows in a database share."""
    if database is None:
        # For example an editor's preview: it has the key of a row, but other values.
        raise Draft("it was not read from a database")
    return f"o{canonical_str(model._meta.label)}{canonical_form(database)}"


def canonical_class(value: type) -> str:
    return f"C{canonical_str(path_of_class(value))}"


def canonical_subclass(value: Any) -> str:
    """Return the form of an instance of a subclass of str, dict, tuple ..., with its attributes."""
    for cls in type(value).__mro__:
        if cls in PLAIN_VALUE:
            plain = ENCODERS[cls](PLAIN_VALUE[cls](value))
            added = object.__getstate__(value)
            return f"c{canonical_str(path_of_class(type(value)))}{plain}{canonical_form(added)}"
        if cls.__flags__ & STATIC_C_TYPE or hasattr(cls, "n_unnamed_fields"):
            break  # written in C: it may hold hidden state, as pandas.Timestamp does
    raise Unstable(f"a {type(value).__qualname__} has no stable key")


def path_of(named: Any) -> str:
    """Return ``module:qualname`` of a function or class."""
    module: str = named.__module__
    if module == "__main__":
        module = name_of_main()
    return f"{module}:{named.__qualname__}"


def name_of_main() -> str:
    """Return the name of the running program: the module of each program is called __main__."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)  # python -m package.module: its importable name
    return f"__main__[{getattr(main, '__file__', '')}]"


def path_of_class(cls: type) -> str:
    """Return the path of a class. Raise Unstable if another class may have the same one."""
    if find_by_name(cls.__module__, cls.__qualname__) is not cls:
        raise Unstable(f"the class {cls.__qualname__} cannot be found under its name")
    return path_of(cls)


def find_by_name(module: str, qualname: str) -> Any:
    """Return the object with a qualified name in an imported module, or None."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


LONGEST_HEAD = 160  # characters; with the digest a key has at most 193, and memcached takes 250
UNSAFE_IN_KEYS = re.compile(r"[^!-~]")  # not printable ASCII, or a space
REQUIRED = inspect.Parameter.empty
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class DraftArgument(TypeError):
    """An argument is, or holds, an instance that was not read from a database."""


class ArgumentKeys:
    """Computes the keys of the calls of one function, named by ``path`` (see path_of)."""

    def __init__(
        self, path: str, signature: inspect.Signature, *, position: str = "", closures: str = ""
    ) -> None:
        """``position`` and ``closures`` distinguish functions that share a path.

        With ``key=``, only ``position`` is used.
        """
        self.where = path.replace(":", ".")
        self._signature = signature
        self._head = UNSAFE_IN_KEYS.sub("_", self.where)[:LONGEST_HEAD]
        self._digest = self._begin_digest(path, f"arguments{position}{closures}")
        self._digest_of_text = self._begin_digest(path, f"text{position}")
        self._defaults = [default_of(parameter) for parameter in signature.parameters.values()]
        self._most, self._fewest = count_positional(signature)

    def key(self, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> str:
        """Return the key of a call. Raise TypeError if an argument does not fit or has no key."""
        values = self.values(arguments, keywords)
        try:
            form = "".join([canonical_form(value) for value in values])
        except (Unstable, RecursionError):
            raise self._argument_error(values) from None
        return self._finish(self._digest, form)

    def key_of_text(self, text: object) -> str:
        """Return the key for a text that the option ``key=`` has returned."""
        if not isinstance(text, str):
            raise TypeError(
                f"{self.where}: key= returned {text!r} ({type(text).__name__}). It must be a str."
            )
        return self._finish(self._digest_of_text, text)

    def values(self, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> list[Any]:
        """Return one value for each parameter, in order, with defaults filled in."""
        # Most calls are this simple, and inspect.Signature.bind() would double the time of a key.
        if not keywords and self._fewest <= len(arguments) <= self._most:
            return [*arguments, *self._defaults[len(arguments) :]]
        return list(self.bind(arguments, keywords).arguments.values())

    def bind(
        self, arguments: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> inspect.BoundArguments:
        """Return a call's bound arguments, with defaults filled in."""
        try:
            bound = self._signature.bind(*arguments, **keywords)
        except TypeError as error:
            raise TypeError(f"{self.where}(): {error}") from None
        bound.apply_defaults()
        return bound

    def _begin_digest(self, path: str, kind: str) -> blake2b:
        # With the parameters: another version of the code may give their values another meaning.
        shape = [
            f"{parameter.kind}{name}" for name, parameter in self._signature.parameters.items()
        ]
        beginning = canonical_form((path, kind, shape))
        return blake2b(beginning.encode("utf-8", "surrogatepass"), digest_size=16)

    def _finish(self, begun: blake2b, text: str) -> str:
        digest = begun.copy()
        digest.update(text.encode("utf-8", "surrogatepass"))
        return f"{self._head}:{digest.hexdigest()}"

    def _argument_error(self, values: list[Any]) -> TypeError:
        for name, value in zip(self._signature.parameters, values, strict=True):
            try:
                canonical_form(value)
            except Unstable as error:
                kind = DraftArgument if isinstance(error, Draft) else TypeError
                return kind(self._refusal(name, value, str(error)))
            except RecursionError:
                reason = "it is nested too deeply, or contains itself"
                return TypeError(self._refusal(name, value, reason))
        return TypeError(f"{self.where}(): an argument changed while its key was made.")

    def _refusal(self, name: str, value: object, reason: str) -> str:
        return (
            f"{self.where}(): the argument {name!r} ({type(value).__name__}) makes no key:"
            f" {reason}. Pass a stable value, such as its id or a string, or give cached(key=...)."
        )


def default_of(parameter: inspect.Parameter) -> Any:
    """Return the value of a parameter that a call does not pass."""
    if parameter.kind is parameter.VAR_POSITIONAL:
        return ()
    return {} if parameter.kind is parameter.VAR_KEYWORD else parameter.default


def count_positional(signature: inspect.Signature) -> tuple[int, int]:
    """Return the most and the fewest arguments of a call that needs no binding by name."""
    parameters = signature.parameters.values()
    named = [parameter for parameter in parameters if parameter.kind in POSITIONAL]
    required = [parameter for parameter in named if parameter.default is REQUIRED]
    if any(
        parameter.kind is parameter.KEYWORD_ONLY and parameter.default is REQUIRED
        for parameter in parameters
    ):
        return -1, 0  # no such call: one always passes keywords
    return len(named), len(required)
