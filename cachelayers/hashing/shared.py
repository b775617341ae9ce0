"""Digests that all processes share, in the cache of CACHELAYERS["ALIAS"]. Used by ids.

An entry is kept by name, size and time of the file, so a deploy finds none of the release before.
It holds a token that all entries share: to forget them all is to forget the token, whatever the
cache. A token that was evicted makes misses, never an entry valid again.
"""

from __future__ import annotations

import hashlib
import re
import time
from typing import Final
from uuid import uuid4

from django.core.exceptions import SynchronousOnlyOperation

from cachelayers.conf import package_settings
from cachelayers.hashing.files import Digest, Stamp
from cachelayers.locks import cache_of
from cachelayers.lookup.faults import report

TOKEN_KEY: Final = "cachelayers:static:token"  # noqa: S105 - a name, and no secret
ENTRY = re.compile(r"(?P<token>[0-9a-f]{32}):(?P<digest>[0-9a-f]{96})")
# After a failure: a page with fifty files must not wait fifty times for a cache that is down.
REST_SECONDS = 10.0


class Rest:
    """Until when the shared cache is left alone."""

    def __init__(self) -> None:
        """Begin at work."""
        self._until = 0.0

    def is_on(self) -> bool:
        """Tell whether it still lasts."""
        return time.monotonic() < self._until

    def begin(self) -> None:
        """Leave the cache alone for a while."""
        self._until = time.monotonic() + REST_SECONDS

    def end(self) -> None:
        """Ask the cache again."""
        self._until = 0.0


rest = Rest()


class SharedDigest:
    """The entry of one file as it is now."""

    def __init__(self, scope: str, name: str, stamp: Stamp) -> None:
        """``scope``: empty for the site's own files."""
        # Hashed, because names may hold what keys of memcached may not.
        file = f"{scope}\0{name}\0{stamp.size}\0{stamp.mtime_ns}".encode()
        self.key = f"cachelayers:static:{hashlib.sha256(file).hexdigest()}"
        self._token: str | None = None

    def read(self) -> Digest | None:
        """Return the digest if the cache has it; a cache that is down has none."""
        if rest.is_on():
            return None
        alias = package_settings().ALIAS
        try:
            found = cache_of(alias).get_many([TOKEN_KEY, self.key])
        except SynchronousOnlyOperation:
            return None  # a template rendered by async code, and a cache in a database
        except Exception as error:  # noqa: BLE001 - down, never made, or not to be decoded
            rest.begin()
            report(alias, "reading ids of static files", error)
            return None
        self._token = found.get(TOKEN_KEY)
        match = ENTRY.fullmatch(str(found.get(self.key)))
        return Digest(match["digest"]) if match and match["token"] == self._token else None

    def write(self, digest: Digest) -> None:
        """Share a digest; one that was made before all were forgotten is not found afterwards."""
        if rest.is_on():
            return
        settings = package_settings()
        try:
            cache = cache_of(settings.ALIAS)
            token = self._token or share_token(settings.ALIAS)
            if token is not None:
                cache.set(self.key, f"{token}:{digest.hex}", timeout=settings.LONGEST_TIMEOUT)
        except SynchronousOnlyOperation:
            return
        except Exception as error:  # noqa: BLE001 - as above
            rest.begin()
            report(settings.ALIAS, "keeping ids of static files", error)


def share_token(alias: str) -> str | None:
    """Return the token that entries of this cache have now; the first caller makes it."""
    new = uuid4().hex
    if cache_of(alias).add(TOKEN_KEY, new, timeout=None):
        return new
    found: str | None = cache_of(alias).get(TOKEN_KEY)
    return found


def forget_shared(alias: str) -> None:
    """Make every entry in a cache a miss; raises what the cache raises."""
    cache_of(alias).delete(TOKEN_KEY)
