"""Write what was read of a stored value as text, up to a length. For the eye, not for Python."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cachelayers.dashboard.pickles import Noted, Pairs, Several

MOST_CHARACTERS = 20_000
SAFE_STRING = "django.utils.safestring.SafeString"  # text, as fragments are
MOST_LEVELS = 30
MOST_BITS = 10_000
MOST_PARTS = 20_000  # a pickle may name one part a thousand times, and that one another


class Writer:
    """Gathers text until there is enough of it."""

    def __init__(self, most: int = MOST_CHARACTERS) -> None:
        """Begin empty."""
        self._parts: list[str] = []
        self._left = most
        self._parts_left = MOST_PARTS

    @property
    def is_full(self) -> bool:
        """Tell whether no more is taken."""
        return self._left <= 0 or self._parts_left <= 0

    def add(self, text: str) -> None:
        """Take as much as fits."""
        self._parts.append(text[: max(0, self._left)])
        self._left -= len(text)
        self._parts_left -= 1

    def text(self) -> str:
        """Return what was taken, and whether it was all."""
        return "".join(self._parts) + (" ..." if self.is_full else "")


def written(value: Any, most: int = MOST_CHARACTERS) -> str:
    """Return a value as text."""
    if isinstance(value, Noted) and value.name == SAFE_STRING and len(value.arguments) == 1:
        value = value.arguments[0]
    if isinstance(value, str):
        # A piece of a text is never a SafeString, which a page would take for its own HTML.
        return value[:most] + (" ..." if len(value) > most else "")
    writer = Writer(most)
    write(value, writer, 0)
    return writer.text()


def write(value: Any, writer: Writer, level: int) -> None:
    """Write one part, and what is in it."""
    if writer.is_full:
        return
    if level > MOST_LEVELS:
        writer.add("...")
    elif isinstance(value, list):
        write_all("[", value, "]", writer, level)
    elif isinstance(value, tuple):
        write_all("(", value, ",)" if len(value) == 1 else ")", writer, level)
    elif isinstance(value, Several):
        write_all(f"{value.name}(", value.items, ")", writer, level)
    elif isinstance(value, Pairs | dict):
        write_pairs(value.items() if isinstance(value, dict) else value.items, writer, level)
    elif isinstance(value, Noted):
        write_noted(value, writer, level)
    elif isinstance(value, int) and value.bit_length() > MOST_BITS:
        writer.add(f"<a number of {value.bit_length():,} bits>")  # Python refuses to write it
    else:
        writer.add(repr(value[:MOST_CHARACTERS] if isinstance(value, str | bytes) else value))


def write_all(begin: str, items: Iterable[Any], end: str, writer: Writer, level: int) -> None:
    """Write the parts of a list or its like."""
    writer.add(begin)
    for number, item in enumerate(items):
        if writer.is_full:
            return
        writer.add(", " if number else "")
        write(item, writer, level + 1)
    writer.add(end)


def write_pairs(pairs: Iterable[tuple[Any, Any]], writer: Writer, level: int) -> None:
    """Write a dictionary."""
    writer.add("{")
    for number, (key, value) in enumerate(pairs):
        if writer.is_full:
            return
        writer.add(", " if number else "")
        write(key, writer, level + 1)
        writer.add(": ")
        write(value, writer, level + 1)
    writer.add("}")


def write_noted(noted: Noted, writer: Writer, level: int) -> None:
    """Write what would be made by a class."""
    writer.add(f"<{noted.name}")
    if noted.arguments:
        writer.add(" ")
        write(noted.arguments, writer, level + 1)
    if noted.state is not None:
        writer.add(" ")
        write(noted.state, writer, level + 1)
    writer.add(">")
