"""Observe how code reads the request, whoever holds it. Used by fragments.

During a render the request's class is swapped for a subclass that reports each attribute to the
observer of the current context. Without an observer the subclass behaves as the original class.
"""

from cachelayers.request_access.mappings import (
    ABSENT,
    NOBODY,
    PRIVATE_NAME,
    REQUEST_KINDS,
    Nobody,
    Observer,
    Reader,
    current_observer,
    is_observed,
    is_silent,
    kind_of,
    observing,
    reader_of,
    unobserved,
)
from cachelayers.request_access.requests import (
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
