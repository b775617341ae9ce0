"""An entry as the layers of a LayeredCache hand it to each other. Touches no cache."""

from __future__ import annotations

import math
import time
from typing import Any, Final, NamedTuple


class Kept(NamedTuple):
    """A value and when it expires: seconds since 1970, or ``math.inf``."""

    value: Any
    expires: float

    def is_live(self) -> bool:
        """Tell whether it has not expired, by this machine's clock."""
        return self.expires > time.time()


NEVER: Final = math.inf
# In the place of an entry that was deleted, counted or touched in a layer below: nothing is here,
# look further down, and do not fill this place from there. It keeps a reader who has read the
# layer below a moment too early from putting an old value over the change.
DETOUR: Final = Kept(None, -math.inf)
DETOUR_SECONDS: Final = 10.0
FILL_SECONDS: Final = 4.0  # a reader who took longer fills nothing: its detour may be over

# What the names of keys begin with that are too long or too odd to be names themselves.
DIGEST_MARK: Final = "#"

Stored = tuple[Any, ...] | list[Any]  # what a layer's serializer is given: lists, because of JSON


def wrap(kept: Kept) -> Stored:
    """Return what is put into a layer that cannot tell for how long an entry still lives."""
    if kept is DETOUR:
        return ()
    return (kept.value, None if kept.expires == NEVER else kept.expires)


def unwrap(stored: Any) -> Kept | None:
    """Return the entry; None for what no LayeredCache has stored."""
    if type(stored) not in (tuple, list):
        return None
    if not stored:
        return DETOUR
    if len(stored) != 2:
        return None
    value, expires = stored
    if expires is None:
        return Kept(value, NEVER)
    return Kept(value, expires) if type(expires) in (int, float) else None


def native_seconds(kept: Kept) -> float | None:
    """Return for how long a layer is asked to keep an entry; None: for ever.

    A little longer than the entry lives: the expiry in it decides, and until a detour would be over
    nobody puts an older value into its place.
    """
    if kept.expires == NEVER:
        return None
    if kept is DETOUR:
        return DETOUR_SECONDS
    return max(kept.expires - time.time(), DETOUR_SECONDS) + 1
