"""The main flow: get an entry, or compute and store it."""

from cachelayers.lookup.ahead import is_warm, warm
from cachelayers.lookup.batches import Wanted, peek_many, recall_many_after_peeking
from cachelayers.lookup.calls import (
    ainvalidate_key,
    arecall,
    arefresh,
    invalidate_key,
    recall,
    recall_after_peeking,
    recall_by,
    refresh,
)
from cachelayers.lookup.given import add_given, holds_draft
from cachelayers.lookup.peeking import MISS, UNREAD, peek
from cachelayers.lookup.policy import UNSET, Policy, cap_timeout, remembered_tags

__all__ = [
    "MISS",
    "UNREAD",
    "UNSET",
    "Policy",
    "Wanted",
    "add_given",
    "ainvalidate_key",
    "arecall",
    "arefresh",
    "cap_timeout",
    "holds_draft",
    "invalidate_key",
    "is_warm",
    "peek",
    "peek_many",
    "recall",
    "recall_after_peeking",
    "recall_by",
    "recall_many_after_peeking",
    "refresh",
    "remembered_tags",
    "warm",
]
