"""Observers, the swapping of classes, and the mappings of a request that report the names read.

`requests` builds the observed subclass of a request on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import lru_cache
from threading import Lock
from types import ModuleType
from typing import Any, Final, NamedTuple, Protocol

from django.http import QueryDict
from django.http.request import HttpHeaders

from cachelayers.invalidation import current_unit


class Observer(Protocol):
    """Gets a call for each read."""

    def note_value(self, request: Any, variant: str) -> None:
        """Record a public value, which selects the variant."""

    def note_private(self, what: str) -> None:
        """Record a value that belongs to one response only."""

    def note_user(self, user: Any) -> None: ...

    def note_written(self, request: Any, name: str) -> None:
        """Record that an attribute was set: reading it later tells nothing about the request."""

    def at_the_end(self, clean_up: Callable[[], None]) -> None:
        """Register a callback for the end of the rendering."""

    def has_lazy_object(self, value: Any) -> bool:
        """Tell whether it records the first use of this lazy object itself."""


class Nobody:
    """Switches recording off in a context that has an observer."""


_observer: ContextVar[Observer | Nobody | None] = ContextVar("cachelayers_observer", default=None)
NOBODY = Nobody()
SILENCE = nullcontext()


@contextmanager
def observing(observer: Observer | Nobody) -> Iterator[None]:
    """Report the reads in this context to an observer."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def current_observer() -> Observer | None:
    """Return the observer of this context, or None."""
    found = _observer.get()
    return None if isinstance(found, Nobody) else found


class Swap(NamedTuple):
    """An object whose class was swapped, with its observers."""

    target: Any  # keeps it alive, because Python reuses ids
    original: type
    owner: Any  # the request that it belongs to
    observers: list[Observer]


_swaps: dict[int, Swap] = {}
_lock = Lock()


def swap_class(target: Any, observed_class: type, owner: Any, observer: Observer) -> bool:
    """Swap the class of an object. Returns False if Python does not allow it."""
    with _lock:
        swap = _swaps.get(id(target))
        if swap is None:
            original = type(target)
            try:
                target.__class__ = observed_class
            except TypeError:
                return False
            swap = _swaps[id(target)] = Swap(target, original, owner, [])
        swap.observers.append(observer)
        return True


def swap_back(target: Any, observer: Observer) -> None:
    """Undo swap_class() for one observer; others may continue to observe the object."""
    with _lock:
        swap = _swaps[id(target)]
        swap.observers.remove(observer)
        if not swap.observers:
            del _swaps[id(target)]
            target.__class__ = swap.original


def unobserved() -> AbstractContextManager[None]:
    """Return a context manager in which nothing is recorded."""
    return SILENCE if is_silent() else observing(NOBODY)


def is_silent() -> bool:
    """Tell whether nothing is observed in the process, which is usual on a hit."""
    return not _swaps and _observer.get() is None


def is_observed(target: Any, observer: Observer | None = None) -> bool:
    """Tell whether an object is observed, by this observer or by any."""
    swap = _swaps.get(id(target))
    return swap is not None and (observer is None or observer in swap.observers)


def owner_of(target: Any) -> Any:
    """Return the request that a swapped object belongs to, or None."""
    swap = _swaps.get(id(target))
    return None if swap is None else swap.owner


def observer_of(target: Any) -> Observer | None:
    """Return the observer to which a read of this object is reported.

    A thread started without a copy of the context may or may not belong to the rendering. Its reads
    are reported to the first observer of the object.
    """
    observer = _observer.get()
    if observer is None:
        swap = _swaps.get(id(target))
        if swap is None or current_unit() is not None:
            return None
        return next(iter(swap.observers), None)
    return None if isinstance(observer, Nobody) else observer


# Headers with such names identify the sender, authorize it, or differ in each request.
PRIVATE_NAME = re.compile(
    r"cookie|auth(?!or(?!iz))|token|secret|session|passw|credential|signature|jwt|csrf|nonce"
    r"|api[-_]?key|(^|[-_])(key|cert)([-_]|$)|assertion"
    r"|request[-_]?id|trace(parent|[-_]?id)|correlation",
    re.IGNORECASE,
)
PUBLIC_NAMES = frozenset({"AUTH_TYPE"})
CSRF_PREFIX = "CSRF"
WHOLE_QUERY = "get"


def secret_in(name: str) -> str | None:
    """Return a description of what a private variable contains; None for a public one."""
    if name.startswith(CSRF_PREFIX):
        return "the CSRF token"
    if PRIVATE_NAME.search(name) and name not in PUBLIC_NAMES:
        return f"the private header {name.removeprefix('HTTP_')}"
    return None


class ObservedVariables(MutableMapping[str, Any]):
    """Replaces ``request.META`` and reports each variable that is read."""

    def __init__(self, mapping: Any, request: Any, observer: Observer) -> None:
        self._mapping, self._request, self._observer = mapping, request, observer

    def _variable(self, name: str) -> str:
        """Return the variable for a name."""
        return name

    def _note(self, name: object) -> None:
        if not isinstance(name, str):
            return
        variable = self._variable(name)
        secret = secret_in(variable)
        if secret is None:
            self._observer.note_value(self._request, f"meta:{variable}")
        else:
            self._observer.note_private(secret)

    def _note_all(self) -> None:
        self._observer.note_private("all headers of the request")

    def __getitem__(self, name: str) -> Any:
        self._note(name)
        return self._mapping[name]

    def __contains__(self, name: object) -> bool:
        self._note(name)
        return name in self._mapping

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # such as those of copy and pickle
            raise AttributeError(name)
        found = getattr(self._mapping, name)
        self._note_all()
        return found

    def __setitem__(self, name: str, value: Any) -> None:
        self._mapping[name] = value

    def __delitem__(self, name: str) -> None:
        del self._mapping[name]

    def __iter__(self) -> Iterator[str]:
        self._note_all()
        return iter(self._mapping)

    def __len__(self) -> int:
        self._note_all()
        return len(self._mapping)

    def __repr__(self) -> str:
        self._note_all()
        return repr(self._mapping)


class ObservedHeaders(ObservedVariables):
    """Replaces ``request.headers``."""

    def _variable(self, name: str) -> str:
        return str(HttpHeaders.to_wsgi_name(name))


class ObservedQuery(QueryDict):
    """The class of ``request.GET`` while it is observed."""

    def _note(self, variant: str) -> None:
        observer, request = observer_of(self), owner_of(self)
        if observer is not None and request is not None:
            observer.note_value(request, variant)

    def __getitem__(self, name: str) -> Any:
        self._note(f"get:{name}")
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self._note(f"get:{name}")
        return super().__contains__(name)

    def getlist(self, key: Any, default: Any = None) -> Any:
        self._note(f"get:{key}")
        return super().getlist(key, default)

    def __copy__(self) -> Any:
        return unobserved_copy(super().__copy__())

    def __deepcopy__(self, memo: Any) -> Any:
        return unobserved_copy(super().__deepcopy__(memo))


def unobserved_copy(query: Any) -> Any:
    """Return a plain copy; its contents were reported when it was made."""
    query.__class__ = QueryDict
    return query


def reporting_all(name: str) -> Callable[..., Any]:
    """Return a method that reports a read of all parameters."""
    original = getattr(QueryDict, name)

    def method(self: ObservedQuery, *args: Any, **kwargs: Any) -> Any:
        self._note(WHOLE_QUERY)
        return original(self, *args, **kwargs)

    method.__name__ = name
    return method


for _name in (
    *("__iter__", "__len__", "__eq__", "__ne__", "__repr__", "__reversed__", "__or__", "__ror__"),
    *("keys", "values", "items", "lists", "dict", "urlencode", "__reduce_ex__", "__getstate__"),
):
    setattr(ObservedQuery, _name, reporting_all(_name))
ObservedQuery.__hash__ = None  # like every dictionary


Canonicalizer = Callable[[object], str]
Reader = Callable[[Any, Canonicalizer], str]

MISSING: Final = object()
ABSENT = "-"  # no canonical form begins with it
REQUEST = "request"
QUERY = "get"
VARIABLE = "meta"
MATCH = "match"
REQUEST_KINDS = frozenset({REQUEST, QUERY, VARIABLE, MATCH})


def kind_of(variant: str) -> str:
    """Return the first part of a variant's name, which tells how to read it."""
    return variant.partition(":")[0]


@lru_cache(maxsize=4096)
def reader_of(variant: str) -> Reader:
    """Return the function that reads a variant's value from a request. It may raise Unstable."""
    kind, _, name = variant.partition(":")
    if variant == WHOLE_QUERY:
        return read_query
    return READERS[kind](name)


def read_query(request: Any, canonical_form: Canonicalizer) -> str:
    """Return the canonical form of all parameters, in their order."""
    return canonical_form([(name, request.GET.getlist(name)) for name in request.GET])


def reader_of_parameter(name: str) -> Reader:
    def read(request: Any, canonical_form: Canonicalizer) -> str:
        query = request.GET
        return canonical_form(query.getlist(name)) if name in query else ABSENT

    return read


def reader_of_variable(name: str) -> Reader:
    def read(request: Any, canonical_form: Canonicalizer) -> str:
        variables = request.META
        if name not in variables or secret_in(name):
            return ABSENT
        return canonical_form(variables[name])

    return read


def reader_of_attribute(name: str) -> Reader:
    special = SPECIAL_ATTRIBUTES.get(name)

    def read(request: Any, canonical_form: Canonicalizer) -> str:
        value = getattr(request, name, MISSING)
        if value is MISSING:
            return ABSENT
        if special is not None:
            value = special(value)
        elif isinstance(value, ModuleType):
            value = value.__name__
        return canonical_form(value)

    return read


# Replacements for values that have no canonical form.
SPECIAL_ATTRIBUTES: dict[str, Callable[[Any], object]] = {
    "_get_scheme": lambda method: method(),
    "resolver_match": lambda match: match is None,  # its values are read by another kind
}


def reader_of_match(name: str) -> Reader:
    attribute = "_func_path" if name == "func" else name

    def read(request: Any, canonical_form: Canonicalizer) -> str:
        match = getattr(request, "resolver_match", None)
        return canonical_form(getattr(match, attribute, None))

    return read


READERS: dict[str, Callable[[str], Reader]] = {
    REQUEST: reader_of_attribute,
    QUERY: reader_of_parameter,
    VARIABLE: reader_of_variable,
    MATCH: reader_of_match,
}
