"""Durations as people write them: seconds, a timedelta, or a text such as "2h30m".

Backends, recalls, settings and commands use it wherever they take a time.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Any, Final

Duration = float | timedelta | str

SECONDS_IN: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
PART = re.compile(r"(\d+(?:\.\d+)?) ?(ms|[smhdw]) ?")
WHOLE = re.compile(f"(?:{PART.pattern})+")
LONGEST_TEXT = 100

# The end of messages about a duration that is none.
HOW_TO_WRITE = "Give a number of seconds, a timedelta, or a text such as '90s' or '2h30m'"


def as_seconds(value: Any) -> Any:
    """Return a timedelta, or a text with units, as seconds; anything else unchanged.

    The caller checks the result: it knows the bounds, and the place for its message. A text without
    a unit stays a text: "10" may be meant as seconds or as minutes.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str) and len(value) <= LONGEST_TEXT and WHOLE.fullmatch(value.strip()):
        parts = PART.findall(value)
        if len({unit for _, unit in parts}) == len(parts):  # "1h1h" is a slip: refused
            return sum(float(number) * SECONDS_IN[unit] for number, unit in parts)
    return value


def seconds_of_option(value: Any) -> float:
    """Return the seconds of a command's option, where a number may be a text: it is typed.

    NaN, which no bounds accept, for anything else.
    """
    try:
        return float(as_seconds(value))
    except (TypeError, ValueError):
        return math.nan
