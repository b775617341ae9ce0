"""What is stored in an entry: its envelope, and its value as text. Nothing is unpickled for it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.db import connections
from django.utils.translation import gettext as _

from cachelayers.backends.layered.layers.table import DETOUR_VALUE
from cachelayers.dashboard.pickles import Pairs, Unreadable, read_pickle
from cachelayers.dashboard.writing import written
from cachelayers.entries.envelope import unseal
from cachelayers.entries.values import Kind
from cachelayers.invalidation.log import log_of
from cachelayers.invalidation.transactions import transaction_of

PICKLE_HEAD = b"\x80"
MOST_TAGS_ASKED = 50
MOST_BYTES_READ = 2**20  # objects of so many bytes may take a hundred times as much memory


@dataclass(frozen=True)
class Judged:
    """What a value was made of in one database, and what of that has changed since."""

    database: str
    position: int
    tags: list[str]
    changed: list[str]
    is_valid: bool


@dataclass(frozen=True)
class Stored:
    """What an entry holds. ``problem``: why nothing more can be said."""

    value: str = ""
    is_sealed: bool = False
    fresh_until: datetime | None = None
    dead_until: datetime | None = None
    created: datetime | None = None
    seconds: float | None = None  # what it took to compute it
    dependencies: list[Judged] = field(default_factory=list)
    problem: str = ""

    @property
    def is_valid(self) -> bool:
        """Tell whether nothing that it was made of has changed."""
        return all(judged.is_valid for judged in self.dependencies)


def read_row(kind: int, number: int | None, data: bytes) -> Stored:
    """Return what a row of the table holds; ``data`` without signature and compression."""
    if kind == Kind.INT:
        return Stored(str(number))
    if kind == Kind.BYTES and data == DETOUR_VALUE:
        return Stored(problem=_("it keeps the place of an entry that was just deleted"))
    if kind == Kind.BYTES:
        return Stored(written(data))
    if kind in {Kind.STR, Kind.DIGITS}:
        return Stored(written(data.decode("utf-8", "backslashreplace")))
    if kind == Kind.CUSTOM:
        return Stored(problem=_("only its own serializer can read it"))
    return read_json(data) if kind == Kind.JSON else read_bytes(data)


def read_bytes(data: bytes) -> Stored:
    """Return what bytes are that may be a pickle, JSON or neither; very many, as they are."""
    if len(data) > MOST_BYTES_READ:
        return Stored(written(data))
    if data.startswith(PICKLE_HEAD):
        try:
            return read_live(read_pickle(data))
        except Unreadable as error:
            return Stored(problem=str(error))
    return read_json(data)


def read_json(data: bytes) -> Stored:
    """Return what JSON says; what is none is bytes."""
    try:
        return read_live(json.loads(data))
    except (ValueError, RecursionError):
        return Stored(written(data))


def read_live(found: Any) -> Stored:
    """Return what is stored, with the envelope taken off where there is one."""
    if isinstance(found, list | tuple) and len(found) == 2 and unseal(found[0]) is not None:
        found = found[0]  # as a layer keeps it that does not tell how long an entry lives
    envelope = unseal(found)
    if envelope is None:
        return Stored(written(found))
    return Stored(
        value=written(envelope.value),
        is_sealed=True,
        fresh_until=time_of(envelope.fresh_until),
        dead_until=time_of(envelope.dead_until),
        created=time_of(envelope.created or None),
        seconds=envelope.seconds if isinstance(envelope.seconds, int | float) else None,
        dependencies=[judge(*one) for one in well_formed(envelope.dependencies)],
    )


def well_formed(dependencies: Any) -> list[tuple[str, str, int, list[str]]]:
    """Return those dependencies that are what they should be: anybody may have written them."""
    found = []
    for one in dependencies if isinstance(dependencies, list | tuple) else ():
        if isinstance(one, Pairs) or not isinstance(one, list | tuple) or len(one) != 4:
            continue
        database, incarnation, position, tags = one
        if type(position) is int and isinstance(tags, list | tuple):
            texts = [tag for tag in tags if isinstance(tag, str)]
            found.append((str(database), str(incarnation), position, texts))
    return found


def judge(database: str, incarnation: str, position: int, tags: list[str]) -> Judged:
    """Tell which tags have changed since a position."""
    if database not in connections.settings:
        return Judged(database, position, tags, [], is_valid=False)
    log = log_of(database)
    if not transaction_of(connections[database]).is_open():
        log.refresh()
    if log.vouches_for(incarnation, position, tags):
        return Judged(database, position, tags, [], is_valid=True)
    asked = tags[:MOST_TAGS_ASKED] if incarnation == getattr(log.reading, "incarnation", "") else []
    changed = [tag for tag in asked if not log.vouches_for(incarnation, position, [tag])]
    return Judged(database, position, tags, changed, is_valid=False)


def at(seconds: float) -> datetime | None:
    """Return a time in seconds since 1970; None for one that no calendar has."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def time_of(seconds: Any) -> datetime | None:
    """Return a time of an envelope; None: no end."""
    return at(seconds) if isinstance(seconds, int | float) else None
