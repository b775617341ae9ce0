"""Tell the keys of sessions from others. They are secrets: who knows one is logged in with it."""

from __future__ import annotations

import re
from importlib import import_module

from django.conf import settings

# cache_key_prefix of Django's engines, without importing them.
HEADS = ("django.contrib.sessions.cache", "django.contrib.sessions.cached_db")


def session_heads() -> tuple[str, ...]:
    """Return what the keys of sessions begin with, as they are given to a cache."""
    try:
        store = import_module(settings.SESSION_ENGINE).SessionStore
    except (ImportError, AttributeError):  # Django's own affair
        return HEADS
    own = str(getattr(store, "cache_key_prefix", ""))
    return tuple(dict.fromkeys([*HEADS, own])) if own else HEADS


def session_keys() -> re.Pattern[str]:
    """Return what is found in the key of a session, whatever a cache puts in front of it."""
    return re.compile("|".join(re.escape(head) for head in session_heads()))


def goes_into_sessions(prefix: str) -> bool:
    """Tell whether a prefix is only some sessions'. To count those would give keys away."""
    heads = session_heads()
    return prefix not in heads and prefix.startswith(heads)
