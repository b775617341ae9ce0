"""What a trigger is here, and the words its text is made of. Used by the vendors' modules."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

PREFIX = "cachelayers_"  # of every trigger and function of ours


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger: its name has a digest of its text, so that a name tells whether it is right."""

    name: str
    table: str
    creation: tuple[str, ...]  # statements, in order


def name_for(event: str, *texts: str) -> str:
    """Return the name of a trigger with that text."""
    digest = blake2b("\0".join(texts).encode(), digest_size=8).hexdigest()
    return f"{PREFIX}{event}_{digest}"


def literal(text: str) -> str:
    """Return text as an SQL literal: definitions take no parameters.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def mysql_literal(text: str) -> str:
    """Return text as MySQL's literal, where a backslash means something too."""
    return literal(text.replace("\\", "\\\\"))
