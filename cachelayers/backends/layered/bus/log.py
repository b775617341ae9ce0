"""The log of invalidations as bus, for sites without a Redis."""

from __future__ import annotations

import django.db
from django.db import connections

from cachelayers.backends.faults import raise_if_never_made
from cachelayers.backends.layered.bus.base import Bus, Events, names_of
from cachelayers.invalidation.following import TagFollower
from cachelayers.invalidation.log import write_tags
from cachelayers.invalidation.tags import key_tag
from cachelayers.invalidation.tracked import log_database
from cachelayers.invalidation.transactions import transaction_of

EVERYTHING = "*"


class LogBus(Bus):
    """Rows of the log that name keys of one LayeredCache.

    An event commits, and rolls back, with the caller's transaction.
    """

    is_transactional = True

    def __init__(self, cache: str) -> None:
        """``cache``: the alias of the LayeredCache, which the tags begin with."""
        super().__init__(f"{cache}: the log")
        self.cache = cache
        self.database = log_database()
        self._head = key_tag(cache, "")
        self._follower = TagFollower(self.database)

    def read(self) -> Events:
        """Return the names that are new in the log, this process's own among them."""
        try:
            tags = self._follower.read()
        except django.db.Error as error:
            raise_if_never_made(self.database, error)
            raise
        if tags is None:
            return Events(everything=True)
        names = [tag.removeprefix(self._head) for tag in tags if tag.startswith(self._head)]
        return Events(names, EVERYTHING in names)

    def append(self, event: bytes) -> None:
        """Log a tag for each name."""
        names = names_of(event)[1]
        tags = [key_tag(self.cache, name) for name in names or [EVERYTHING]]
        connection = connections[self.database]
        write_tags(connection, tags)
        transaction = transaction_of(connection)
        if transaction.is_open():
            transaction.mark_dirty()  # the ids of its rows may be given to others

    def holds_back(self) -> bool:
        """Tell whether a transaction is open, in which an older state may be seen."""
        return transaction_of(connections[self.database]).is_open()
