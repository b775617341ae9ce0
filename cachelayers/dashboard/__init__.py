"""The data and actions behind the admin's screens, without HTML and requests.

`admin` shows them.
"""

from cachelayers.dashboard.entries import (
    Count,
    EntryStore,
    NoSuchEntry,
    Unsearchable,
    Wanted,
    count_made_from,
    entry_store_of,
    entry_stores,
    key_of,
)
from cachelayers.dashboard.history import KINDS, Happening, databases_with_log, read_log
from cachelayers.dashboard.hot import fields_for
from cachelayers.dashboard.invalidating import (
    Choice,
    Done,
    Outcome,
    carry_out,
    checked_fragments,
    checked_tags,
    labels_of_tracked,
    name_of_row,
    preview,
    row_named,
    row_tags,
)
from cachelayers.dashboard.overview import SPANS, read_overview

__all__ = [
    "KINDS",
    "SPANS",
    "Choice",
    "Count",
    "Done",
    "EntryStore",
    "Happening",
    "NoSuchEntry",
    "Outcome",
    "Unsearchable",
    "Wanted",
    "carry_out",
    "checked_fragments",
    "checked_tags",
    "count_made_from",
    "databases_with_log",
    "entry_store_of",
    "entry_stores",
    "fields_for",
    "key_of",
    "labels_of_tracked",
    "name_of_row",
    "preview",
    "read_log",
    "read_overview",
    "row_named",
    "row_tags",
]
