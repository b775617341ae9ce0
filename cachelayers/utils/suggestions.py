"""Messages about an unknown name, with the known names that are similar to it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

LIKE_ENOUGH = 0.5  # difflib's ratio; its default of 0.6 misses 'pages' for 'country pages'
MOST_SHOWN = 8


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """``There is no warmer 'contry'. Did you mean 'country'?``"""
    names = list(known)
    return f"There is no {kind} {name!r}. {_advise(name, names)}"


def _advise(name: str, known: list[str]) -> str:
    if not known:
        return "None exists."
    near = get_close_matches(name, known, cutoff=LIKE_ENOUGH)
    near += [other for other in known if name and name in other and other not in near]
    if near:
        return f"Did you mean {' or '.join(map(repr, near[:MOST_SHOWN]))}?"
    rest = " ..." if len(known) > MOST_SHOWN else ""
    return f"There are: {', '.join(map(repr, known[:MOST_SHOWN]))}{rest}."
