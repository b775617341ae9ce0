"""Name the present generation of a group of cached values. Used by the apps' `keys` modules."""

from uuid import uuid4

from django.core.cache import cache
from django.db import transaction


class Generation:
    """A word in the keys of a group of entries; a new word leaves all the old ones behind.

    It is this, and not a list of keys to delete, because one airport shows on hundreds of
    pages, and because a page that was read before a change and is stored after it lands
    under the old word, where nobody looks.
    """

    def __init__(self, name: str) -> None:
        self.key = f"generation:{name}"

    def current(self) -> str:
        # Never counted up from a start: a lost counter would lead back to words that were used.
        return str(cache.get_or_set(self.key, _new_word, timeout=None))

    def renew(self) -> None:
        cache.set(self.key, _new_word(), timeout=None)

    def renew_on_commit(self) -> None:
        """Renew when the change can be seen by others; not at all if it is rolled back."""
        transaction.on_commit(self.renew)


def _new_word() -> str:
    return uuid4().hex
