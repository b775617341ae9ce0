"""Read the name of a static file, and choose the marker that stands in place of an id."""

from __future__ import annotations

import logging
import posixpath
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from django.conf import settings

from cachelayers.conf import package_settings
from cachelayers.exceptions import StaticFileError
from cachelayers.utils.rate_limit import RateLimit

logger = logging.getLogger("cachelayers.hashing")


class Marker(StrEnum):
    """Why there is no id."""

    MISSING_FILE = "ERROR_MISSING_FILE"
    IS_DIRECTORY = "ERROR_IS_DIRECTORY"
    NO_FILE_PROVIDED = "ERROR_NO_FILE_PROVIDED"
    UNREADABLE = "ERROR_UNREADABLE"
    INVALID_PATH = "ERROR_INVALID_PATH"


MARKERS = frozenset(marker.value for marker in Marker)


reports = RateLimit()


def report(error: StaticFileError, *, dev_mode: bool) -> None:
    """Raise the error where the settings are strict; else log it, in production not too often."""
    if package_settings().STRICT:
        raise error
    if dev_mode or reports.is_due((error.name, error.marker)):
        logger.error("%s: %s", error.marker, error)


MOST_NAMES = 10_000  # that are remembered as they were read
# Two letters at least: one is a drive of Windows.
FOREIGN = re.compile(r"[a-z][a-z0-9+.-]+:|//", re.IGNORECASE)
PARTS = re.compile(r"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What a template names; ``names`` are the ways to read it, the likelier first."""

    names: tuple[str, ...]
    query: str
    fragment: str


def is_foreign(given: object) -> bool:
    """Tell whether it is a URL that is not below STATIC_URL: somebody else's, or its own data."""
    return is_foreign_text(as_text(given), static_url())


def is_below_static_url(given: object) -> bool:
    """Tell whether it is a URL of the site's static files."""
    return path_below(static_url(), as_text(given)) is not None


def read_reference(given: object) -> Reference:
    """Return what is named; raise StaticFileError where no file can be."""
    return read_text(as_text(given), static_url())


# Remembered: a template names the same files each time, and to read a name takes as long as to look
# for its id. Errors are not.
@lru_cache(maxsize=MOST_NAMES)
def is_foreign_text(text: str, static_url: str) -> bool:
    """Do as is_foreign() for a text and a STATIC_URL."""
    return path_below(static_url, text) is None and FOREIGN.match(text) is not None


@lru_cache(maxsize=MOST_NAMES)
def read_text(text: str, static_url: str) -> Reference:
    """Do as read_reference() for a text and a STATIC_URL."""
    below = path_below(static_url, text)
    path, query, fragment = split_parts(text if below is None else below)
    if below is None and not path:
        raise StaticFileError(Marker.NO_FILE_PROVIDED, text, "a template names no static file")
    if is_foreign_text(text, static_url):
        raise refusal(text, "is not below STATIC_URL")
    # Below STATIC_URL it is a URL and encoded. A bare name may be either, as for Django's manifest.
    spellings = [unquote(path)] if below is not None else [path, unquote(path)]
    names = tuple(dict.fromkeys(clean_name(spelling, text) for spelling in spellings))
    return Reference(names=names, query=query, fragment=fragment)


def as_text(given: object) -> str:
    """Return what was given as text: None, lazy texts and paths too."""
    return "" if given is None else str(given).strip()


def static_url() -> str:
    """Return STATIC_URL, or nothing where it is not set."""
    return str(settings.STATIC_URL or "")


def path_below(static_url: str, text: str) -> str | None:
    """Return what follows STATIC_URL, or None where the text does not begin with it."""
    # Its path alone too, where a host comes before it. Without a path of its own a CDN's URL would
    # make every absolute path one of ours.
    for prefix in (static_url, urlsplit(static_url).path):
        if len(prefix) > 1 and text.startswith(prefix):
            return text[len(prefix) :]
    return None


def split_parts(url: str) -> tuple[str, str, str]:
    """Return path, query and fragment as they are written; urlsplit() would drop some letters."""
    match = PARTS.fullmatch(url)
    assert match is not None  # noqa: S101 - every part may be empty
    return match["path"], match["query"] or "", match["fragment"] or ""


def clean_name(name: str, given: str) -> str:
    """Return the name without detours; raise where it leaves the folder or cannot be a name."""
    if "\0" in name or "\\" in name or not is_encodable(name):
        raise refusal(given, "holds a character that no name of a static file may have")
    clean = posixpath.normpath(name)
    if clean.startswith("/") or clean.split("/", 1)[0] == "..":
        raise refusal(given, "leads out of the folders of static files")
    if clean == ".":
        raise StaticFileError(Marker.IS_DIRECTORY, given, f"{given!r} is the folder itself")
    return clean + "/" if name.endswith("/") else clean


def is_encodable(name: str) -> bool:
    """Tell whether it can be written as UTF-8; half a surrogate pair cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def refusal(given: str, reason: str) -> StaticFileError:
    """Return the error for a path that is no static file's."""
    return StaticFileError(Marker.INVALID_PATH, given, f"{given!r} {reason}")
