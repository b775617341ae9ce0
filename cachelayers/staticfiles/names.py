"""Names of static files in templates and URLs, and the markers that replace missing ids.

`ids` reads each name with it before it looks for the file.
"""

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
    """The reason why there is no id."""

    MISSING_FILE = "ERROR_MISSING_FILE"
    IS_DIRECTORY = "ERROR_IS_DIRECTORY"
    NO_FILE_PROVIDED = "ERROR_NO_FILE_PROVIDED"
    UNREADABLE = "ERROR_UNREADABLE"
    INVALID_PATH = "ERROR_INVALID_PATH"


MARKERS = frozenset(marker.value for marker in Marker)


reports = RateLimit()


def report(error: StaticFileError, *, dev_mode: bool) -> None:
    """Raise the error if the settings are strict; otherwise log it, rate-limited in production."""
    if package_settings().STRICT:
        raise error
    if dev_mode or reports.is_due((error.name, error.marker)):
        logger.error("%s: %s", error.marker, error)


MOST_NAMES = 10_000  # remembered results
# At least two letters, because one letter is a Windows drive.
FOREIGN = re.compile(r"[a-z][a-z0-9+.-]+:|//", re.IGNORECASE)
PARTS = re.compile(r"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A name from a template; ``names`` are its possible readings, the likelier first."""

    names: tuple[str, ...]
    query: str
    fragment: str


def is_foreign(path: object) -> bool:
    """Tell whether it is a URL outside STATIC_URL: of another site, or a data URL."""
    return is_foreign_text(as_text(path), static_url())


def is_below_static_url(path: object) -> bool:
    """Tell whether it is a URL of the site's static files."""
    return path_below(static_url(), as_text(path)) is not None


def read_reference(path: object) -> Reference:
    """Return the reference. Raises StaticFileError if it cannot name a file."""
    return read_text(as_text(path), static_url())


# Remembered, because templates use the same names each time, and parsing takes as long as finding
# the id. Errors are not remembered.
@lru_cache(maxsize=MOST_NAMES)
def is_foreign_text(text: str, static_url: str) -> bool:
    return path_below(static_url, text) is None and FOREIGN.match(text) is not None


@lru_cache(maxsize=MOST_NAMES)
def read_text(text: str, static_url: str) -> Reference:
    below = path_below(static_url, text)
    path, query, fragment = split_parts(text if below is None else below)
    if below is None and not path:
        raise StaticFileError(Marker.NO_FILE_PROVIDED, text, "a template names no static file")
    if is_foreign_text(text, static_url):
        raise refusal(text, "is not below STATIC_URL")
    # Below STATIC_URL it is an encoded URL. A bare name may be either, as for Django's manifest.
    forms = [unquote(path)] if below is not None else [path, unquote(path)]
    names = tuple(dict.fromkeys(clean_name(form, text) for form in forms))
    return Reference(names=names, query=query, fragment=fragment)


def as_text(path: object) -> str:
    """Return it as text; it may be None, a lazy text or a path."""
    return "" if path is None else str(path).strip()


def static_url() -> str:
    """Return STATIC_URL, or "" if it is not set."""
    return str(settings.STATIC_URL or "")


def path_below(static_url: str, text: str) -> str | None:
    """Return the rest after STATIC_URL, or None if the text does not begin with it."""
    # Also the path of STATIC_URL without its host. If that path is "/", it would match every
    # absolute path.
    for prefix in (static_url, urlsplit(static_url).path):
        if len(prefix) > 1 and text.startswith(prefix):
            return text[len(prefix) :]
    return None


def split_parts(url: str) -> tuple[str, str, str]:
    """Return path, query and fragment unchanged; urlsplit() would drop some characters."""
    match = PARTS.fullmatch(url)
    assert match is not None  # noqa: S101 - every part may be empty
    return match["path"], match["query"] or "", match["fragment"] or ""


def clean_name(name: str, path: str) -> str:
    """Return the normalized name. Raises if it leaves the folder or cannot be a name."""
    if "\0" in name or "\\" in name or not is_encodable(name):
        raise refusal(path, "holds a character that no name of a static file may have")
    clean = posixpath.normpath(name)
    if clean.startswith("/") or clean.split("/", 1)[0] == "..":
        raise refusal(path, "leads out of the folders of static files")
    if clean == ".":
        raise StaticFileError(Marker.IS_DIRECTORY, path, f"{path!r} is the folder itself")
    return clean + "/" if name.endswith("/") else clean


def is_encodable(name: str) -> bool:
    """Tell whether it can be written as UTF-8; half a surrogate pair cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def refusal(path: str, reason: str) -> StaticFileError:
    """Return the error for a path that cannot be a static file."""
    return StaticFileError(Marker.INVALID_PATH, path, f"{path!r} {reason}")
