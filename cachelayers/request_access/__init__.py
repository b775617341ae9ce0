"""Observe how code reads the request, whoever holds it. Used by fragments.

During a render the request's class is swapped for a subclass that reports each attribute to the
observer of the current context. Without an observer the subclass behaves as the original class.
"""

from cachelayers.request_access.mappings import PRIVATE_NAME
from cachelayers.request_access.observers import (
    NOBODY,
    Nobody,
    Observer,
    current_observer,
    is_observed,
    is_silent,
    observing,
    unobserved,
)
from cachelayers.request_access.values import ABSENT, REQUEST_KINDS, Reader, kind_of, reader_of
from cachelayers.request_access.watched import (
    KNOWN_ATTRIBUTES,
    inner_requests,
    is_lazy,
    is_request,
    lazily,
    own_attributes,
    real,
    secret_of,
    watching_requests,
)

__all__ = [
    "ABSENT",
    "KNOWN_ATTRIBUTES",
    "NOBODY",
    "PRIVATE_NAME",
    "REQUEST_KINDS",
    "Nobody",
    "Observer",
    "Reader",
    "current_observer",
    "inner_requests",
    "is_lazy",
    "is_observed",
    "is_request",
    "is_silent",
    "kind_of",
    "lazily",
    "observing",
    "own_attributes",
    "reader_of",
    "real",
    "secret_of",
    "unobserved",
    "watching_requests",
]
