"""What the workloads share: requests with reads and writes, drawn from one seed.

No choice depends on an answer, so each contestant gets the same requests.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Protocol, TypeVar

SEED = 20_260_101
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)  # of the site's clock, which counts a request as a second
Answer = TypeVar("Answer")
Forget = Callable[[str, object], None]  # a kind of query, and what it is about


class Read(Protocol):
    """Reads an answer through each contestant, and returns the right one."""

    def __call__(self, kind: str, about: object, compute: Callable[[], Answer]) -> Answer:
        """``kind`` and ``about`` are the key of whoever needs one.

        The answer holds nothing that was read outside of ``compute``: no contestant can know that.
        """


class Zipf:
    """Numbers from 1, of which the first are drawn much more often than the last."""

    def __init__(self, count: int, exponent: float = 1.0) -> None:
        self._numbers = range(1, count + 1)
        self._weights = list(itertools.accumulate(1 / rank**exponent for rank in self._numbers))

    def draw(self, chance: Random) -> int:
        return chance.choices(self._numbers, cum_weights=self._weights)[0]


class Site(ABC):
    """An application with its rows, its pages and its writes."""

    # Page or write, and how many of 100 it is.
    pages: Sequence[tuple[Callable[[Random, Read], None], int]]
    writes: Sequence[tuple[Callable[[Random, datetime], None], int]]
    # Seconds, by kind of query, for who invalidates by hand.
    timeouts: dict[str, int]

    @abstractmethod
    def create_rows(self, chance: Random) -> None:
        """Fill the empty tables."""

    @abstractmethod
    def connect(self, forget: Forget) -> None:
        """Invalidate by hand: connect the signals that a site's authors think of."""

    def open_page(self, chance: Random, read: Read) -> None:
        """Make one request of a reader."""
        draw(self.pages, chance)(chance, read)

    def write(self, chance: Random, now: datetime) -> None:
        """Make one request of a writer."""
        draw(self.writes, chance)(chance, now)


def draw(choices: Sequence[tuple[Answer, int]], chance: Random) -> Answer:
    """Return one of the choices, by their weights."""
    found, weights = zip(*choices, strict=True)
    drawn: Answer = chance.choices(found, weights)[0]
    return drawn
