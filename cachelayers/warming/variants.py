"""One page, several answers: by language, by other headers. Used by plan and visitors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

ACCEPT_LANGUAGE = "Accept-Language"
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a field name, as RFC 9110 has it
PRINTABLE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")
# What says who a visitor is: a page that was made for a user must never get into the cache.
OF_USERS = frozenset(
    {
        *("authorization", "cookie", "proxy-authorization"),
        *("remote-user", "x-remote-user", "x-forwarded-user", "x-auth-request-user"),
    }
)
# What a request has by itself, or what would change its kind.
OF_REQUESTS = frozenset(
    {
        *("connection", "content-length", "content-type", "expect", "host", "keep-alive"),
        *("range", "te", "trailer", "transfer-encoding", "upgrade"),
        *("if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The headers by which an answer differs from the plain one."""

    headers: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return ", ".join(f"{name}: {value}" for name, value in self.headers)


PLAIN = Variant()


def make_variants(languages: Iterable[str], headers: Iterable[tuple[str, str]]) -> list[Variant]:
    """Every combination: several values of one header are variants, several headers go together."""
    values: dict[str, list[str]] = {}
    for name, value in [*((ACCEPT_LANGUAGE, each) for each in languages), *headers]:
        known = values.setdefault(name.title(), [])
        if value not in known:
            known.append(value)
    combinations: Iterable[Sequence[str]] = product(*values.values())
    return [Variant(headers=tuple(zip(values, each, strict=True))) for each in combinations]


def parse_header(text: str) -> tuple[str, str]:
    """``Name: value`` taken apart; raises ValueError with the reason where it may not be sent."""
    name, colon, value = text.partition(":")
    name, value = name.strip(" "), value.strip(" \t")
    if not colon or not TOKEN.fullmatch(name) or not PRINTABLE.fullmatch(value):
        raise ValueError(f"{text!r} is no header. Write it 'Name: value'")
    if name.lower() in OF_USERS:
        raise ValueError(f"{name} says who a visitor is, and pages of users are never warmed")
    if name.lower() in OF_REQUESTS:
        raise ValueError(f"{name} is not for you to choose: a page's request has its own")
    return name, value
