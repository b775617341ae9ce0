"""The main flow: get an entry, or compute and store it."""

from cachelayers.lookup.batches import Requested, peek_many, recall_many_after_peeking
from cachelayers.lookup.calls import (
    Options,
    add_given,
    ainvalidate_key,
    arecall,
    arefresh,
    holds_draft,
    invalidate_key,
    is_warm,
    recall,
    recall_after_peeking,
    recall_by,
    refresh,
    warm,
)
from cachelayers.lookup.peeking import MISS, UNREAD, peek
from cachelayers.lookup.policy import (
    UNSET,
    Policy,
    Timeout,
    cap_timeout,
    check_times,
    remembered_tags,
    report,
)
from cachelayers.lookup.tokens import has_form_field, has_token_of

__all__ = [
    "MISS",
    "UNREAD",
    "UNSET",
    "Options",
    "Policy",
    "Requested",
    "Timeout",
    "add_given",
    "ainvalidate_key",
    "arecall",
    "arefresh",
    "cap_timeout",
    "check_times",
    "has_form_field",
    "has_token_of",
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
    "report",
    "warm",
]
