"""Observes which values of a request code reads, through any reference to the request.

`fragments` uses it to find the variants of a block. During the rendering, the request's class is
swapped for a subclass that reports each attribute to the observer of the current context. Without
an observer, the subclass behaves like the original class.
"""

from cachelayers.request_access.mappings import (
    PRIVATE_NAME,
    REQUEST_KINDS,
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
    observing_requests,
    own_attributes,
    real,
    secret_of,
)

__all__ = [
    "KNOWN_ATTRIBUTES",
    "PRIVATE_NAME",
    "REQUEST_KINDS",
    "Reader",
    "current_observer",
    "inner_requests",
    "is_lazy",
    "is_observed",
    "is_request",
    "is_silent",
    "kind_of",
    "observing",
    "observing_requests",
    "own_attributes",
    "reader_of",
    "real",
    "secret_of",
    "unobserved",
]
