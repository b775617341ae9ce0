"""Mappings of a request that report which of their names are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from django.http import QueryDict
from django.http.request import HttpHeaders

from cachelayers.request_access.observers import Observer, observer_of, owner_of

# What is in a header of such a name identifies its sender, lets it in, or is another each time.
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
    """Return what a private variable of a request holds, in words; None for a public one."""
    if name.startswith(CSRF_PREFIX):
        return "the CSRF token"
    if PRIVATE_NAME.search(name) and name not in PUBLIC_NAMES:
        return f"the private header {name.removeprefix('HTTP_')}"
    return None


class WatchedVariables(MutableMapping[str, Any]):
    """Stands in front of ``request.META`` and reports each variable that is read."""

    def __init__(self, mapping: Any, request: Any, observer: Observer) -> None:
        self._mapping, self._request, self._observer = mapping, request, observer

    def _variable(self, name: str) -> str:
        """Return the variable that a name stands for."""
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


class WatchedHeaders(WatchedVariables):
    """Stands in front of ``request.headers``."""

    def _variable(self, name: str) -> str:
        return str(HttpHeaders.to_wsgi_name(name))


class WatchedQuery(QueryDict):
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
        return without_watching(super().__copy__())

    def __deepcopy__(self, memo: Any) -> Any:
        return without_watching(super().__deepcopy__(memo))


def without_watching(query: Any) -> Any:
    """Return a copy, whose contents were reported when it was made."""
    query.__class__ = QueryDict
    return query


def reporting_all(name: str) -> Callable[..., Any]:
    """Return a method that reports that all parameters are read."""
    original = getattr(QueryDict, name)

    def method(self: WatchedQuery, *args: Any, **kwargs: Any) -> Any:
        self._note(WHOLE_QUERY)
        return original(self, *args, **kwargs)

    method.__name__ = name
    return method


for _name in (
    *("__iter__", "__len__", "__eq__", "__ne__", "__repr__", "__reversed__", "__or__", "__ror__"),
    *("keys", "values", "items", "lists", "dict", "urlencode", "__reduce_ex__", "__getstate__"),
):
    setattr(WatchedQuery, _name, reporting_all(_name))
WatchedQuery.__hash__ = None  # as of each dictionary
