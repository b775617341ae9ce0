"""The main flow: get an entry, or compute and store it."""

from cachelayers.lookup.ahead import is_warm, warm
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
    "is_warm",
    "recall",
    "refresh",
    "warm",
]
