"""Read what a value has left for later, while it is still noticed what is read. Called by steps.

A query that was not run is run when it is put into a cache, and so is a lazy object. That is after
the compute: the entry would not depend on those rows, and be served when they have changed.
"""

from __future__ import annotations

import pickle
from types import NoneType

from django.core.exceptions import SynchronousOnlyOperation
from django.db import DatabaseError
from django.utils.safestring import SafeString

# As most values are, and all fragments without holes.
WITH_NOTHING_TO_READ = frozenset({NoneType, bool, int, float, str, bytes, SafeString})


class Nowhere:
    """A file that nothing is written to."""

    def write(self, data: bytes) -> None:
        """Drop it."""


def read_all(value: object) -> None:
    """Run the queries in a value and use its lazy objects, which keep what they have read.

    Raises what the database does. By pickling it, which goes where a cache will go: a walk through
    attributes would end in the managers of models, and with them in all of the site.
    """
    if type(value) in WITH_NOTHING_TO_READ:
        return
    try:
        pickle.Pickler(Nowhere(), pickle.HIGHEST_PROTOCOL).dump(value)
    except (DatabaseError, SynchronousOnlyOperation):
        raise
    except Exception:  # noqa: BLE001, S110 - anything: the cache will say so, or not pickle it at all
        pass
