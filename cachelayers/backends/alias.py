"""Find out under which alias of CACHES a backend is being made: Django does not tell it.

The alias separates the entries of several caches in one place, and stands in every message.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

from django.core.cache import CacheHandler

from cachelayers.conf import aliases_configured_as

FRAMES_TO_THE_HANDLER = 6  # a subclass's __init__ or two may stand in between


def find_alias(backend: type, location: str, params: Mapping[str, Any]) -> str:
    """Return the alias of the backend whose ``__init__`` is running, or "" where it has none.

    The handler that makes it knows the alias; the settings do not always, since two aliases may be
    configured alike. Asking ``caches[alias] is self`` later fails in another thread, where the same
    alias is another object.
    """
    frame: FrameType | None = sys._getframe(1)
    for _ in range(FRAMES_TO_THE_HANDLER):
        if frame is None:
            break
        if isinstance(frame.f_locals.get("self"), CacheHandler) and "alias" in frame.f_locals:
            return str(frame.f_locals["alias"])
        frame = frame.f_back
    return next(iter(aliases_configured_as(backend, location, params)), "")
