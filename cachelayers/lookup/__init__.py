"""The main flow: get an entry, or compute and store it."""

from cachelayers.lookup.calls import (
    ainvalidate_key,
    arecall,
    arefresh,
    invalidate_key,
    recall,
    refresh,
)
from cachelayers.lookup.policy import UNSET

__all__ = [
    "UNSET",
    "ainvalidate_key",
    "arecall",
    "arefresh",
    "invalidate_key",
    "recall",
    "refresh",
]
