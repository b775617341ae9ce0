"""Notice values that a compute takes out of a cache of ours by hand. Backends call it.

Nobody knows what such a value was made of. It may be a row that a package remembers (a flag, a
setting). So only the timeout bounds the age of what is made of it.
"""

from __future__ import annotations

import sys
from types import FrameType

from cachelayers.computes import is_own_read
from cachelayers.invalidation.capture import listening_captures
from cachelayers.invalidation.reports import warn_of_plain_get_once
from cachelayers.stats import counts

# Whose reads of a cache are understood: our own, and those of sessions, which are for one visitor.
UNDERSTOOD = ("cachelayers.", "django.contrib.sessions.")


def receive_plain_get(cache: str) -> None:
    """Have what is computed here be made of an unknown value. ``cache``: the alias."""
    if is_own_read() or caller_of_backend(sys._getframe(3)).startswith(UNDERSTOOD):
        return
    captures = listening_captures()
    for capture in captures:
        capture.is_untracked = True
    if captures:
        counts.add(cache, "untracked_reads")
        warn_of_plain_get_once(cache)


def caller_of_backend(frame: FrameType | None) -> str:
    """Return the module that has called a cache, of the frame of whoever called its method."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        # Its own methods call one another, and Django's async twins call them in a thread.
        if not module.startswith(("django.core.cache.", "cachelayers.backends.", "asgiref.")):
            return module
        frame = frame.f_back
    return ""
