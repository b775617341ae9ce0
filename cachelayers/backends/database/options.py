"""The settings of a DatabaseCache. Read by the cache and by the system checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connections

from cachelayers.backends.base import (
    Problem,
    find_common_problems,
    is_number,
    is_whole,
    unmet_bound_demand,
)
from cachelayers.conf import table_database_of
from cachelayers.durations import HOW_TO_WRITE, as_seconds
from cachelayers.entries import COMPRESSION_FLAGS, load_compression, load_serializer
from cachelayers.locations import Kind, location_of, unusable_path, without_password

SUPPORTED_VENDORS = ("sqlite", "postgresql", "mysql")  # MariaDB's vendor is "mysql" in Django


@dataclass(frozen=True, kw_only=True)
class DatabaseOptions:
    """The OPTIONS of a DatabaseCache, with their defaults."""

    MAX_BYTES: int | None = None  # keys, values and 64 bytes a row; None: no bound
    MAX_ENTRIES: int | None = None
    COMPRESSION: str | None = None
    COMPRESSION_MIN_BYTES: int = 1024  # smaller values are not compressed
    SERIALIZER: str = "pickle"
    SIGNED: bool = False
    UNLOGGED: bool = False  # PostgreSQL: no write-ahead log; the table is empty after a crash
    BUSY_SECONDS: float = 5.0  # how long one operation may wait for a lock

    def __post_init__(self) -> None:
        """Convert a duration to seconds."""
        object.__setattr__(self, "BUSY_SECONDS", as_seconds(self.BUSY_SECONDS))


def find_problems(where: str, location: str, params: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the errors in the settings of one cache. ``where`` names the cache in messages."""
    yield from find_location_problems(where, location)
    known = DatabaseOptions.__dataclass_fields__
    yield from find_common_problems(where, params, known, unmet_demand)


def find_location_problems(where: str, location: str) -> Iterator[Problem]:
    """Yield the errors in the database or file that LOCATION names."""
    database = table_database_of({"LOCATION": location})
    found = location_of(location or database)
    if found is not None and found.kind is Kind.FILE:
        yield from find_path_problems(where, found.name)
    elif found is None or found.kind is not Kind.DATABASE:
        shown = without_password(str(database))  # it may be a database URL
        yield Problem(
            "cachelayers.E001",
            f"{where} LOCATION is {shown!r}, which is not in DATABASES.",
            f"Name one of {', '.join(map(repr, settings.DATABASES))}, or add {shown!r} there, or"
            " give the path of a file for the cache alone, such as BASE_DIR / 'cache.sqlite3'.",
        )
    elif (vendor := connections[database].vendor) not in SUPPORTED_VENDORS:
        yield Problem(
            "cachelayers.E002",
            f"{where} LOCATION is {database!r}, a database of the vendor {vendor!r}.",
            "DatabaseCache works on SQLite, PostgreSQL, MariaDB and MySQL.",
        )


def find_path_problems(where: str, path: str) -> Iterator[Problem]:
    """Yield an error if a path cannot be the cache's own file."""
    if reason := unusable_path(path):
        yield Problem(
            "cachelayers.E045",
            f"{where} LOCATION is {path!r}, which {reason}",
            "Give the absolute path of a file for the cache alone, such as"
            " BASE_DIR / 'cache.sqlite3'.",
        )


def unmet_demand(name: str, value: Any) -> str | None:
    """Return the requirement of an option that ``value`` does not meet, or None."""
    if name in {"MAX_BYTES", "MAX_ENTRIES"}:
        return unmet_bound_demand(value)
    if name == "COMPRESSION_MIN_BYTES":
        met = is_whole(value) and value >= 0
        return None if met else "Give a whole number of bytes, 0 or more."
    if name == "BUSY_SECONDS":
        seconds = as_seconds(value)
        met = is_number(seconds) and 0 < seconds <= 60
        return None if met else f"{HOW_TO_WRITE}, above 0 and up to 60."
    if name in {"SIGNED", "UNLOGGED"}:
        return None if isinstance(value, bool) else "Give True or False."
    if name == "COMPRESSION":
        return unmet_compression_demand(value)
    return unmet_serializer_demand(value)


def unmet_compression_demand(value: Any) -> str | None:
    """Return the requirement of COMPRESSION if ``value`` is unknown or not installed."""
    if value is None:
        return None
    if not isinstance(value, str) or value not in COMPRESSION_FLAGS:
        return "Give 'zlib', 'zstd' or None."
    try:
        load_compression(value)
    except ImportError:
        return "Install it with: pip install 'django-cachelayers[zstd]'."
    return None


def unmet_serializer_demand(value: Any) -> str | None:
    """Return the requirement of SERIALIZER if ``value`` cannot be used."""
    try:
        load_serializer(value)
    except (ImportError, TypeError, AttributeError) as error:
        return (
            "Give 'pickle', 'json', or the dotted path of an object with dumps() and loads()"
            f" ({error})."
        )
    return None
