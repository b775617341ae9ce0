"""Digests that this process knows, bounded, the least recently used forgotten. Used by ids."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any, NamedTuple

from django.core.signals import setting_changed

from cachelayers.hashing.files import Digest, Stamp
from cachelayers.hashing.markers import reports
from cachelayers.locks import ForkSafeLock

MOST_FILES = 10_000  # about 5 MB
# What decides where static files are and how they are served.
SETTINGS = frozenset({"CACHELAYERS", "DEBUG", "INSTALLED_APPS", "STORAGES"})


class Known(NamedTuple):
    """A digest, the file it belongs to, and when that was last looked at by time.monotonic()."""

    digest: Digest
    stamp: Stamp | None
    looked_at: float

    def is_older_than(self, seconds: float | None) -> bool:
        """Tell whether the last look was so long ago; None is for ever."""
        return seconds is not None and time.monotonic() - self.looked_at >= seconds


class Memo:
    """Digests by scope and name."""

    def __init__(self, most: int = MOST_FILES) -> None:
        """``most``: how many are remembered."""
        self._most = most
        self._known: OrderedDict[tuple[str, str], Known] = OrderedDict()
        self._lock = ForkSafeLock()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: tuple[str, str]) -> Known | None:
        """Return what is known, and count it as used."""
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
            return known

    def keep(self, key: tuple[str, str], digest: Digest, stamp: Stamp | None) -> None:
        """Remember a digest as of now."""
        with self._lock:
            self._known[key] = Known(digest, stamp, time.monotonic())
            self._known.move_to_end(key)
            while len(self._known) > self._most:
                self._known.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._known.clear()


memo = Memo()


def forget_on_change(*, setting: str, **kwargs: Any) -> None:
    """Receive setting_changed, which tests send."""
    if setting in SETTINGS or setting.startswith(("STATIC", "WHITENOISE")):
        memo.clear()
        reports.clear()


setting_changed.connect(forget_on_change, dispatch_uid="cachelayers.hashing.forget_on_change")
