"""What stands in a URL in place of an id, and how it is reported. Used by ids and urls."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from enum import StrEnum

from cachelayers.conf import package_settings
from cachelayers.exceptions import StaticFileError
from cachelayers.locks import ForkSafeLock

logger = logging.getLogger("cachelayers.hashing")

REPORT_EVERY_SECONDS = 60.0  # the same name, in production
MOST_REPORTED = 1_000  # names whose last report is remembered


class Marker(StrEnum):
    """Why there is no id."""

    MISSING_FILE = "ERROR_MISSING_FILE"
    IS_DIRECTORY = "ERROR_IS_DIRECTORY"
    NO_FILE_PROVIDED = "ERROR_NO_FILE_PROVIDED"
    UNREADABLE = "ERROR_UNREADABLE"
    INVALID_PATH = "ERROR_INVALID_PATH"


MARKERS = frozenset(marker.value for marker in Marker)


class Reports:
    """When each name was last reported."""

    def __init__(self) -> None:
        """Begin with none."""
        self._next_at: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._lock = ForkSafeLock()

    def is_due(self, error: StaticFileError) -> bool:
        """Tell whether nobody has reported this for a while, and count it as reported now."""
        key, now = (error.name, error.marker), time.monotonic()
        with self._lock:
            if now < self._next_at.get(key, now):
                return False
            self._next_at[key] = now + REPORT_EVERY_SECONDS
            self._next_at.move_to_end(key)
            while len(self._next_at) > MOST_REPORTED:
                self._next_at.popitem(last=False)
            return True

    def clear(self) -> None:
        """Forget what was reported."""
        with self._lock:
            self._next_at.clear()


reports = Reports()


def report(error: StaticFileError, *, dev_mode: bool) -> None:
    """Raise the error where the settings are strict; else log it, in production not too often."""
    if package_settings().STRICT:
        raise error
    if dev_mode or reports.is_due(error):
        logger.error("%s: %s", error.marker, error)
