"""Recall a value: get a valid entry, or compute and store it.

`@cached`, fragments and pages call this package. It uses the Django cache of the alias.
"""

from cachelayers.lookup.batches import Requested, peek_many, recall_many_after_peeking
from cachelayers.lookup.calls import (
    Options,
    add_rows_of_argument,
    ainvalidate_key,
    ainvalidate_keys,
    arecall,
    arefresh,
    holds_draft,
    invalidate_key,
    invalidate_keys,
    is_warm,
    recall,
    recall_after_peeking,
    recall_by,
    refresh,
    warm,
)
from cachelayers.lookup.explaining import why_missed
from cachelayers.lookup.many import ManyOptions, arecall_many, recall_many
from cachelayers.lookup.peeking import MISS, NOT_READ, peek
from cachelayers.lookup.policy import (
    UNSET,
    Policy,
    Timeout,
    Unset,
    cached_user_tags,
    cap_timeout,
    check_times,
    freshness_of,
    report,
    timing_of,
)
from cachelayers.lookup.tokens import has_form_field, has_token_of

__all__ = [
    "MISS",
    "NOT_READ",
    "UNSET",
    "ManyOptions",
    "Options",
    "Policy",
    "Requested",
    "Timeout",
    "Unset",
    "add_rows_of_argument",
    "ainvalidate_key",
    "ainvalidate_keys",
    "arecall",
    "arecall_many",
    "arefresh",
    "cached_user_tags",
    "cap_timeout",
    "check_times",
    "freshness_of",
    "has_form_field",
    "has_token_of",
    "holds_draft",
    "invalidate_key",
    "invalidate_keys",
    "is_warm",
    "peek",
    "peek_many",
    "recall",
    "recall_after_peeking",
    "recall_by",
    "recall_many",
    "recall_many_after_peeking",
    "refresh",
    "report",
    "timing_of",
    "warm",
    "why_missed",
]
