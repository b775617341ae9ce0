"""The exceptions of cachelayers that users may meet. Every other module may import them."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured


class CacheLayersError(Exception):
    """Base class of all exceptions of this package that are not configuration errors."""


class CacheUnavailable(CacheLayersError):
    """The cache could not carry out an operator's request (clear, count, prune).

    Ordinary cache operations never raise it: for them, a cache that fails is a miss.
    """


class NotNow(CacheLayersError):
    """An event cannot be written or read within the caller's transaction, but later."""


class NotSupported(CacheLayersError, NotImplementedError):
    """A cache, or one of its layers, cannot do what was called. The text names it."""


class LockError(CacheLayersError, ValueError):
    """A lock was not acquired in time, or is not held by the caller. Named as in redis-py."""


class LockNotOwnedError(LockError):
    """A lock has expired, and may be held by another caller."""


class StaticFileError(CacheLayersError, ValueError):
    """A static file has no id. Callers get it only if CACHELAYERS["STRICT"] is true.

    ``marker`` is what stands in its URL otherwise. It is a ValueError, because Django's own
    storages raise that for a name they do not know, and WhiteNoise expects it.
    """

    def __init__(self, marker: str, name: str, reason: str) -> None:
        """``name``: the file's name as it was passed. ``reason``: for a log."""
        super().__init__(reason)
        self.marker = marker
        self.name = name


class MissingTable(CacheUnavailable, ImproperlyConfigured):
    """The tables of a cache or of the log do not exist. The text names the command to run.

    Only operators get it, as with CacheUnavailable.
    """
