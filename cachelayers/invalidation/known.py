"""Which words there are, as far as one process can tell. Asked by forms and commands only."""

from __future__ import annotations

from cachelayers.invalidation.tags import WORD
from cachelayers.invalidation.tracked import log_database
from cachelayers.invalidation.words import MOST_SEEN, words_here
from cachelayers.models import Invalidation


def known_words() -> set[str]:
    """Return the words that models declare, that this process has stored, and those in the log.

    Others may exist, in entries that other processes have stored: nobody lists those.
    """
    tags = Invalidation.objects.using(log_database()).filter(tag__startswith=WORD)
    logged = tags.order_by("tag").values_list("tag", flat=True).distinct()[:MOST_SEEN]
    return words_here() | {tag.removeprefix(WORD) for tag in logged}
