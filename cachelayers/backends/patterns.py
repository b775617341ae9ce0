"""Patterns of keys as Redis has them: ``*``, ``?``, ``[a-c]``, ``[^a]``, ``\\`` before a letter.

``names`` makes one for each search; backends compare keys with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from cachelayers.entries import LOCK_SUFFIX

STAR: Final = "*"
ANY_LETTER: Final = "."
UNKNOWN: Final = "?"  # in a key that is known only in part


class Pattern:
    """One pattern. Its case counts, and it has to match the whole key."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens = list(tokens_of(text))
        self._regex = re.compile(regex_of(self._tokens), re.DOTALL)

    @property
    def literal_start(self) -> str:
        """Return the text with which every matching key begins."""
        start = ""
        for token in self._tokens:
            letter = token.removeprefix("\\")
            if token in {STAR, ANY_LETTER} or len(letter) != 1:
                break
            start += letter
        return start

    def matches(self, key: str) -> bool:
        return self._regex.fullmatch(key) is not None

    def may_match(self, start: str, *, is_whole: bool) -> bool:
        """Return whether a key that begins so may match; ``UNKNOWN`` stands for any letter."""
        places = self._with_stars({0})
        for letter in start:
            places = self._with_stars(set(self._after(places, letter)))
        return (len(self._tokens) in places) if is_whole else bool(places)

    def _after(self, places: Iterable[int], letter: str) -> Iterator[int]:
        """Yield the places in the pattern after one more letter."""
        for place in places:
            token = self._tokens[place] if place < len(self._tokens) else ""
            if token == STAR:
                yield place
            elif token and (letter == UNKNOWN or re.fullmatch(token, letter, re.DOTALL)):
                yield place + 1

    def _with_stars(self, places: set[int]) -> set[int]:
        """Return places, and those behind a star that stands for nothing."""
        for place in sorted(places):
            while place < len(self._tokens) and self._tokens[place] == STAR:
                place += 1  # noqa: PLW2901 - the stars behind it
                places.add(place)
        return places


def tokens_of(text: str) -> Iterator[str]:
    """Yield STAR, or the regular expression of one letter, for each part of a pattern."""
    at = 0
    while at < len(text):
        letter = text[at]
        if letter == "[":
            token, at = class_at(text, at + 1)
            yield token
            continue
        if letter == "\\" and at + 1 < len(text):
            at += 1
            yield re.escape(text[at])
        elif letter == "*":
            yield STAR
        else:
            yield ANY_LETTER if letter == "?" else re.escape(letter)
        at += 1


def class_at(text: str, at: int) -> tuple[str, int]:
    """Return the regular expression of the letters in brackets, and the place behind them.

    As in Redis, brackets that are not closed reach to the end of the pattern.
    """
    is_negated = text[at : at + 1] == "^"
    at += is_negated
    ranges: list[str] = []
    while at < len(text) and text[at] != "]":
        if text[at] == "\\" and at + 1 < len(text):
            at += 1
            ranges.append(re.escape(text[at]))
        elif text[at + 1 : at + 2] == "-" and at + 2 < len(text):
            first, last = sorted((text[at], text[at + 2]))
            ranges.append(f"{re.escape(first)}-{re.escape(last)}")
            at += 2
        else:
            ranges.append(re.escape(text[at]))
        at += 1
    if not ranges:
        return (ANY_LETTER if is_negated else "[^\\s\\S]"), at + 1  # anything, or nothing at all
    return f"[{'^' if is_negated else ''}{''.join(ranges)}]", at + 1


def regex_of(tokens: Iterable[str]) -> str:
    """Return a regular expression whose time is linear in the length of a key.

    A star takes the first place where the letters behind it fit, and never another one (an atomic
    group): only the letters after the last star have to be at the end.
    """
    parts: list[str] = [""]
    for token in tokens:
        if token == STAR:
            parts.append("")
        else:
            parts[-1] += token
    if len(parts) == 1:
        return parts[0]
    first, *between, last = parts
    return first + "".join(f"(?>.*?{part})" for part in between if part) + f".*{last}"


class Search(NamedTuple):
    """A search for keys: what stands around a key in the full key, and the pattern."""

    head: str
    tail: str
    pattern: Pattern

    @property
    def start(self) -> str:
        """Return the text with which every full key that is found begins."""
        return self.head + self.pattern.literal_start

    def key_in(self, full_key: str) -> str | None:
        """Return the key in a full key, or None if it is not searched for, or a lock's row."""
        if not (full_key.startswith(self.head) and full_key.endswith(self.tail)):
            return None
        if full_key.endswith(LOCK_SUFFIX):
            return None
        key = full_key[len(self.head) : len(full_key) - len(self.tail)]
        return key if self.pattern.matches(key) else None

    def may_match(self, start: str, *, is_whole: bool) -> bool:
        """Return whether a full key that begins so may be one; see Pattern.may_match()."""
        whole = f"{escape_pattern(self.head)}{self.pattern.text}{escape_pattern(self.tail)}"
        return pattern_of(whole).may_match(start, is_whole=is_whole)


def escape_pattern(text: str) -> str:
    """Return a pattern that matches a text literally."""
    return "".join(f"\\{letter}" if letter in "\\*?[]^-" else letter for letter in text)


@lru_cache(maxsize=16)
def pattern_of(text: str) -> Pattern:
    """Return a pattern; a search asks for the same one for each key."""
    return Pattern(text)
