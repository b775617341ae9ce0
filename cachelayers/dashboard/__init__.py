"""What the screens of the admin show and do. Knows no HTML and no request."""

from cachelayers.dashboard.entries import (
    EntryStore,
    NoSuchEntry,
    Unsearchable,
    entry_store_of,
    entry_stores,
)
from cachelayers.dashboard.history import KINDS, Happening, databases_with_log, read_log
from cachelayers.dashboard.invalidating import (
    Choice,
    Done,
    Outcome,
    carry_out,
    checked_fragments,
    checked_words,
    labels_of_tracked,
    name_of_row,
    preview,
    row_named,
)
from cachelayers.dashboard.overview import SPANS, look

__all__ = [
    "KINDS",
    "SPANS",
    "Choice",
    "Done",
    "EntryStore",
    "Happening",
    "NoSuchEntry",
    "Outcome",
    "Unsearchable",
    "carry_out",
    "checked_fragments",
    "checked_words",
    "databases_with_log",
    "entry_store_of",
    "entry_stores",
    "labels_of_tracked",
    "look",
    "name_of_row",
    "preview",
    "read_log",
    "row_named",
]
