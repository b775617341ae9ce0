"""The main flow: get an entry, or compute and store it."""

from cachelayers.lookup.policy import UNSET
from cachelayers.lookup.recall import (
    ainvalidate_key,
    arecall,
    arefresh,
    invalidate_key,
    recall,
    refresh,
)

__all__ = [
    "UNSET",
    "ainvalidate_key",
    "arecall",
    "arefresh",
    "invalidate_key",
    "recall",
    "refresh",
]
