"""A bus is a log of changed names, which each process reads from its own position."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple
from uuid import uuid4

from cachelayers.backends.layered.breaker import breaker_of

MOST_NAMES: Final = 1_000  # in one event; of more changes it is said that everything has changed

_token = uuid4().hex


class Events(NamedTuple):
    """What others have written since the last look."""

    names: Sequence[str] = ()
    everything: bool = False  # or it is not known what
    as_of: float | None = None  # of time.monotonic(); None: as of this look


Apply = Callable[[Events], None]


class Bus(ABC):
    """The bus of one LayeredCache. One thread at a time reads it (see Agreement.look)."""

    # Whether appending is part of the caller's transaction, which may be rolled back.
    is_transactional = False
    costs_a_write = False  # of its own, beside that of the entry

    def __init__(self, alias: str) -> None:
        """``alias``: what the breaker is called."""
        self.alias = alias
        self.breaker = breaker_of(alias)

    @abstractmethod
    def read(self, apply: Apply) -> Events:
        """Return what is new, after ``apply`` has taken it; raises what the client raises.

        The position moves last: whoever is cut off in between reads the same again.
        """

    @abstractmethod
    def append(self, event: bytes) -> bool:
        """Tell the others; return whether that cannot be rolled back any more."""

    def has_written(self) -> bool:
        """Tell whether what others hear of may depend on a transaction that has written."""
        return False

    def holds_back(self) -> bool:
        """Tell whether what is read and written now is not what others see."""
        return False

    def cut(self) -> None:  # noqa: B027 - most clients see to it themselves
        """End connections on which an answer may be left, after a call that was interrupted."""

    def own_async(self, operation: str, arguments: Iterable[Any]) -> Awaitable[Any] | None:
        """Return an operation as something to await, or None where it needs a thread."""
        return None


class NoBus(Bus):
    """Nobody is told: the time limit of the memory bounds how old its values get."""

    def __init__(self) -> None:
        """Need nothing."""
        super().__init__("")

    def read(self, apply: Apply) -> Events:
        """Hear nothing."""
        return Events()

    def append(self, event: bytes) -> bool:
        """Tell nobody."""
        return True


def this_process() -> str:
    """Return what is this process's own, also after a fork."""
    return f"{_token}:{os.getpid()}"


def event_of(names: Sequence[str] | None) -> bytes:
    """Return the event that says which names have changed; None: everything."""
    said = None if names is None or len(names) > MOST_NAMES else list(names)
    return json.dumps([this_process(), said], separators=(",", ":")).encode()


def names_of(event: bytes) -> tuple[str, list[str] | None]:
    """Return whose event it is, and which names have changed; None: everything."""
    try:
        process, names = json.loads(event)
    except (ValueError, TypeError):
        return "", None
    if names is not None and not isinstance(names, list):
        return "", None
    return process, names
