"""Errors that users of cachelayers may meet; the lowest floor, imported by every other."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured


class CacheLayersError(Exception):
    """Base of every error of this package that is not a configuration error."""


class CacheUnavailable(CacheLayersError):
    """An operator's request (clear, count, prune) could not be carried out by the cache.

    Ordinary cache operations never raise it: there, a cache that fails is a miss.
    """


class NotNow(CacheLayersError):
    """An event could not be written or read within the caller's transaction; later it can."""


class StaticFileError(CacheLayersError, ValueError):
    """A static file has no id. Raised to callers only where CACHELAYERS["STRICT"] is true.

    ``marker`` is what stands in its URL otherwise. A ValueError, because that is what Django's own
    storages raise for a name they do not know, and what WhiteNoise expects of them.
    """

    def __init__(self, marker: str, name: str, reason: str) -> None:
        """``name``: of the file, as it was given; ``reason``: for a log."""
        super().__init__(reason)
        self.marker = marker
        self.name = name


class MissingTable(CacheUnavailable, ImproperlyConfigured):
    """The tables of a cache or of the log do not exist; the text names the command that makes them.

    Raised to operators only, as CacheUnavailable is.
    """
