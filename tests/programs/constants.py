"""The constants of programs, as code: few, so that rows and queries meet.

Some differ only in case or spaces, and some are written in another type than their column's.
"""

from __future__ import annotations

from random import Random
from typing import TypeVar

One = TypeVar("One")

KEYS = range(1, 7)
SLUGS = ("a", "b", "c", "A", "a-b", "5")
WORDS = ("a", "b", "c", "A", "b ", "5")
TEXTS = ("a", "b", "B", "a ", "5", "05", "x OR 1=1")
UUIDS = range(1, 5)

BY_KIND: dict[str, tuple[str, ...]] = {
    "key": tuple(map(str, KEYS)),
    "int": ("-1", "0", "1", "2", "3"),
    "slug": tuple(map(repr, SLUGS)),
    "word": tuple(map(repr, WORDS)),
    "text": tuple(map(repr, TEXTS)),
    "uuid": tuple(f"uuid({number})" for number in UUIDS),
    "bool": ("True", "False"),
}
ODD: dict[str, tuple[str, ...]] = {
    "key": ("'1'", "'02'", "True", "3.0", "Decimal('2')"),
    "int": ("'1'", "False", "-0.0", "2.0"),
    "slug": ("5", "'a' * 30"),
    "word": ("5", "''"),
    "text": ("5", "b'a'"),
    "uuid": ("str(uuid(1))", "str(uuid(2)).upper()"),
    "bool": ("1", "0"),
}
ODD_SHARE = 0.03


class Chance:
    """Draws shapes and constants apart, so that a shape can be drawn again with other constants."""

    def __init__(self, shape: int, constants: int) -> None:
        self.shape, self.constants = Random(shape), Random(constants)

    def among(self, *options: One) -> One:
        return self.shape.choice(options)

    def is_(self, share: float) -> bool:
        return self.shape.random() < share

    def weighted(self, weights: dict[str, int]) -> str:
        return self.shape.choices(list(weights), list(weights.values()))[0]

    def constant(self, kind: str) -> str:
        """Return a constant of a column, rarely one of another type."""
        if self.shape.random() < ODD_SHARE:
            return self.constants.choice(ODD[kind])
        return self.constants.choice(BY_KIND[kind])

    def constants_of(self, kind: str) -> str:
        """Return a list of constants, rarely an empty one."""
        count = self.shape.choice((0, 1, 1, 2, 2, 3))
        return f"[{', '.join(self.constant(kind) for _ in range(count))}]"
