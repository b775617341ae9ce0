"""Lay out tables of text, and short words for times and shares. Used by the commands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

SECONDS_IN = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")


def in_columns(headings: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int) -> str:
    """Return a table. The first columns are texts, the others numbers, which end below each other.

    A column without anything in it is left out.
    """
    kept = [number for number in range(len(headings)) if any(row[number] for row in rows)]
    lines = [[row[number] for number in kept] for row in (headings, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number < texts else cell.rjust(width)
            for number, cell, width in zip(kept, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def seconds_in(text: str) -> float:
    """Return the seconds of ``90``, ``15m``, ``1h`` or ``2d``; ValueError for anything else."""
    match = DURATION.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(text)
    return float(match[1]) * SECONDS_IN[match[2] or "s"]


def in_words(seconds: float) -> str:
    """Return a time in the unit that fits: ``850 ms``, ``12.3 s``, ``4.5 min``, ``3.1 h``."""
    for unit, length, most in (("ms", 0.001, 1.0), ("s", 1.0, 120.0), ("min", 60.0, 7200.0)):
        if seconds < most:
            return f"{seconds / length:.{0 if unit == 'ms' and seconds >= 0.01 else 1}f} {unit}"
    return f"{seconds / 3600:,.1f} h"


def ago(moment: datetime | None) -> str:
    """Return how long ago something was."""
    if moment is None:
        return "never"
    return f"{in_words(max((datetime.now(UTC) - moment).total_seconds(), 0.0))} ago"
