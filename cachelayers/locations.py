"""What the LOCATION of a cache may be: a file, an alias of DATABASES, or the URL of a server.

``conf`` uses it, and derives the layers of a LayeredCache from it.
"""

from __future__ import annotations

import os
import re
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings

FILE_ENDINGS = (".sqlite3", ".db")

MASK = "***"
# Names of secret values in a URL's query or in options.
SECRET_NAME = re.compile(r"pass|pwd|secret|token|auth|credential", re.IGNORECASE)
SECRET_IN_QUERY = re.compile(
    rf"(?P<name>[?&;#][^=&;#]*(?:{SECRET_NAME.pattern})[^=&;#]*=)(?P<secret>[^&]*)", re.IGNORECASE
)
# The separator of two addresses in one text.
NEXT_ADDRESS = re.compile(r"[;,]\s*(?=[a-z][a-z0-9+.-]*://)", re.IGNORECASE)
PATH = re.compile(r"(?:[a-z]:)?[/\\]", re.IGNORECASE)


class Address(NamedTuple):
    """The parts of an address. ``user``: with the password."""

    scheme: str
    user: str
    rest: str


class Kind(Enum):
    """What stands behind a LOCATION."""

    DATABASE = "an alias of DATABASES"
    FILE = "a path, such as BASE_DIR / 'cache.sqlite3'"
    REDIS = "redis://, rediss:// or unix://"
    MEMCACHED = "memcached://host:port"


SCHEMES = {
    "redis": Kind.REDIS,
    "rediss": Kind.REDIS,
    "unix": Kind.REDIS,
    "memcached": Kind.MEMCACHED,
}


class Location(NamedTuple):
    """A valid LOCATION. ``name``: an alias, a path as text, a URL, or memcached's host and port."""

    kind: Kind
    name: str


def location_of(value: Any) -> Location | None:
    """Return what a value means; None: nothing that is known.

    An alias of DATABASES comes first, then a URL. Any other text is a path if it has a separator or
    the ending of an SQLite file.
    """
    if isinstance(value, os.PathLike):
        return Location(Kind.FILE, os.fspath(value))
    if not isinstance(value, str):
        return None
    if value in settings.DATABASES:
        return Location(Kind.DATABASE, value)
    scheme, separator, rest = value.partition("://")
    if separator:
        kind = SCHEMES.get(scheme.lower())
        if kind is None or not rest:
            return None
        return Location(kind, rest.rstrip("/") if kind is Kind.MEMCACHED else value)
    is_path = Path(value).name != value or value.endswith(FILE_ENDINGS)
    return Location(Kind.FILE, value) if is_path and not value.startswith("file:") else None


def is_file(database: str) -> bool:
    """Return whether a table's database is a file that LOCATION names, and no alias."""
    return database not in settings.DATABASES and Path(database).is_absolute()


def place_of(database: str) -> str:
    """Return the name of a table's database for messages."""
    return repr(database) if is_file(database) else f"DATABASES[{database!r}]"


def unusable_path(path: str) -> str | None:
    """Return why a path cannot be a cache's own file in any state of the disk, or None."""
    if not Path(path).is_absolute():
        return "is a relative path: each working directory would have a cache of its own."
    names = [str(database.get("NAME", "")) for database in settings.DATABASES.values()]
    if os.path.realpath(path) in {os.path.realpath(name) for name in names if name}:
        return "is the file of an alias in DATABASES."
    return None


def without_password(location: str) -> str:
    """Return addresses with user, password and secret query values masked."""
    return ", ".join(masked(address) for address in NEXT_ADDRESS.split(location))


def masked(address: str) -> str:
    """Return one address without its secrets."""
    scheme, user, rest = parse_address(SECRET_IN_QUERY.sub(rf"\g<name>{MASK}", address))
    return f"{scheme}{MASK}@{rest}" if user else f"{scheme}{rest}"


def parse_address(address: str) -> Address:
    """Split an address. User and password end at the last @, because a password may contain one.

    urlsplit() does not help: it ends the host at a slash in the password, and raises for some
    addresses.
    """
    head, colon, rest = address.partition("://") if "://" in address else ("", "", address)
    user = "" if PATH.match(rest) else rest.rpartition("@")[0]
    return Address(f"{head}{colon}", user, rest[len(user) + 1 :] if user else rest)
