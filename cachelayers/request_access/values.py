"""Spell what a request says of a variant: ``request:path``, ``get:page``, ``meta:HTTP_HOST``.

The part before the colon is the kind, the rest a name. The same code spells a value when it is
first read and when a later request looks for its variant.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import Any, Final

from cachelayers.request_access.mappings import WHOLE_QUERY, secret_in

Speller = Callable[[object], str]
Reader = Callable[[Any, Speller], str]

MISSING: Final = object()
ABSENT = "-"  # no spelling begins so
REQUEST = "request"
QUERY = "get"
VARIABLE = "meta"
MATCH = "match"
REQUEST_KINDS = frozenset({REQUEST, QUERY, VARIABLE, MATCH})


def kind_of(variant: str) -> str:
    """Return the part of a variant's name that says how it is read."""
    return variant.partition(":")[0]


@lru_cache(maxsize=4096)
def reader_of(variant: str) -> Reader:
    """Return what reads a variant's value from a request. It may raise Unstable."""
    kind, _, name = variant.partition(":")
    if variant == WHOLE_QUERY:
        return read_query
    return READERS[kind](name)


def read_query(request: Any, spell: Speller) -> str:
    """Spell all parameters, in their order."""
    return spell([(name, request.GET.getlist(name)) for name in request.GET])


def reader_of_parameter(name: str) -> Reader:
    def read(request: Any, spell: Speller) -> str:
        query = request.GET
        return spell(query.getlist(name)) if name in query else ABSENT

    return read


def reader_of_variable(name: str) -> Reader:
    def read(request: Any, spell: Speller) -> str:
        variables = request.META
        if name not in variables or secret_in(name):
            return ABSENT
        return spell(variables[name])

    return read


def reader_of_attribute(name: str) -> Reader:
    special = SPECIAL_ATTRIBUTES.get(name)

    def read(request: Any, spell: Speller) -> str:
        value = getattr(request, name, MISSING)
        if value is MISSING:
            return ABSENT
        if special is not None:
            value = special(value)
        elif isinstance(value, ModuleType):
            value = value.__name__
        return spell(value)

    return read


# What stands for a value that has no spelling itself.
SPECIAL_ATTRIBUTES: dict[str, Callable[[Any], object]] = {
    "_get_scheme": lambda method: method(),
    "resolver_match": lambda match: match is None,  # what it says is read by its own kind
}


def reader_of_match(name: str) -> Reader:
    attribute = "_func_path" if name == "func" else name

    def read(request: Any, spell: Speller) -> str:
        match = getattr(request, "resolver_match", None)
        return spell(getattr(match, attribute, None))

    return read


READERS: dict[str, Callable[[str], Reader]] = {
    REQUEST: reader_of_attribute,
    QUERY: reader_of_parameter,
    VARIABLE: reader_of_variable,
    MATCH: reader_of_match,
}
