"""Read what a value has left for later, while it is still noticed what is read. Called by steps.

A query that was not run is run when it is put into a cache, and so is a lazy object. That is after
the compute: the entry would not depend on those rows, and be served when they have changed.
"""

from __future__ import annotations

import pickle
from types import NoneType
from typing import Any

from django.contrib.messages.storage.base import BaseStorage
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DatabaseError
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.safestring import SafeString

# As most values are, and all fragments without holes.
WITH_NOTHING_TO_READ = frozenset({NoneType, bool, int, float, str, bytes, SafeString})
OF_ONE_VISITOR = (HttpResponseBase, HttpRequest, SessionBase, BaseStorage)


class Nowhere:
    """A file that nothing is written to."""

    def write(self, data: bytes) -> None:
        """Drop it."""


class ResponseFound(TypeError):
    """A value is, or holds, a response, a request or a session."""


class Reader(pickle.Pickler):
    """Goes where a cache will go, and stops at what no cache may be given."""

    def reducer_override(self, one: Any) -> Any:
        """Look at what is neither a plain value nor a container."""
        if isinstance(one, OF_ONE_VISITOR):
            raise ResponseFound(type(one).__name__)
        return NotImplemented


def refuse_response(where: str, value: object) -> None:
    """Raise TypeError for a response or request: it is one visitor's, with cookies and tokens."""
    if isinstance(value, OF_ONE_VISITOR):
        raise explain(where, type(value).__name__)


def explain(where: str, name: str) -> TypeError:
    """Return the error that says what to do instead."""
    return TypeError(
        f"{where} made a value with a response, request or session in it ({name}). That is one"
        " visitor's: it holds cookies, a CSRF token, maybe a name. Cache what it is made from; or"
        " parts of its template with {% fragment %}; or whole pages with Django's cache_page."
    )


def read_all(where: str, value: object) -> None:
    """Run the queries in a value and use its lazy objects, which keep what they have read.

    Raises what the database does, and TypeError for a response or request in it; ``where`` begins
    its text. By pickling it, which goes where a cache will go: a walk through attributes would end
    in the managers of models, and with them in all of the site.
    """
    if type(value) in WITH_NOTHING_TO_READ:
        return
    try:
        Reader(Nowhere(), pickle.HIGHEST_PROTOCOL).dump(value)
    except (DatabaseError, SynchronousOnlyOperation):
        raise
    except ResponseFound as found:
        raise explain(where, str(found)) from None
    except Exception:  # noqa: BLE001, S110 - anything: the cache will say so, or not pickle it at all
        pass
