"""Name what caches raise that are down, full, slow or cut off. Used by lookup and LayeredCache."""

from __future__ import annotations

import pickle
from importlib import import_module

import django.db

from cachelayers.exceptions import CacheUnavailable

# What unpickling raises for an entry of code that has changed since.
UNREADABLE = (pickle.UnpicklingError, AttributeError, ImportError, IndexError, EOFError)


def errors_named(*names: tuple[str, str]) -> tuple[type[BaseException], ...]:
    """Return the errors of modules that are installed; pairs of module and class."""
    found = []
    for module, name in names:
        try:
            found.append(getattr(import_module(module), name))
        except (ImportError, AttributeError):
            continue
    return tuple(found)


CLIENT_ERRORS = errors_named(
    ("redis.exceptions", "RedisError"),
    ("pymemcache.exceptions", "MemcacheError"),
    ("pylibmc", "Error"),
    ("django_redis.exceptions", "ConnectionInterrupted"),
)
# What a cache may raise that is down, full, slow or cut off.
CACHE_ERRORS: tuple[type[BaseException], ...] = (
    OSError,
    django.db.Error,
    CacheUnavailable,
    *CLIENT_ERRORS,
)
# Those of a server that can be reached and does not want what it was given.
REFUSALS = errors_named(
    ("redis.exceptions", "ResponseError"),
    ("pymemcache.exceptions", "MemcacheServerError"),
    ("pymemcache.exceptions", "MemcacheClientError"),
)
