"""Which URLs are the site's own, and which variants of a page there are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from urllib.parse import SplitResult, urljoin, urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host
from django.utils.encoding import iri_to_uri

from cachelayers.warming.outcomes import WarmingError

SCHEMES = ("http", "https")
# What ALLOWED_HOSTS stands for while DEBUG is on and it is empty (django.http.request).
DEBUG_HOSTS = [".localhost", "127.0.0.1", "[::1]"]
# urlsplit() drops tabs and line ends silently; a URL that holds one was not meant so.
BLANKS = re.compile(r"[\x00-\x20\x7f]")
HAS_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


@dataclass(frozen=True, kw_only=True)
class Address:
    """A place on the site: checked, percent-encoded, without fragment."""

    scheme: str
    host: str  # with the port where one was given, as in a Host header
    path: str
    query: str

    def __str__(self) -> str:
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{self.host}{self.path}{query}"


def locate(url: str, *, base: str | None = None, origin: str | None = None) -> Address:
    """The address that a path or URL names; raises WarmingError where it is not on this site.

    ``base`` is the URL of the page that names it; only then may it be relative. ``origin`` is
    that of the server which is asked, whose host is the site's as those of ALLOWED_HOSTS are.
    """
    _check_spelling(url, may_be_relative=base is not None)
    parts = _split(url, base or origin or site_origin())
    if origin is None or parts.netloc.lower() != urlsplit(origin).netloc:
        _check_host(parts)
    return Address(
        scheme=parts.scheme,
        host=parts.netloc.lower(),
        path=iri_to_uri(parts.path or "/"),
        query=iri_to_uri(parts.query),
    )


def site_origin() -> str:
    """Scheme and host for what gives a path alone: those of ALLOWED_HOSTS and the settings."""
    return f"{'https' if settings.SECURE_SSL_REDIRECT else 'http'}://{own_host() or 'localhost'}"


def own_host() -> str | None:
    """The first entry of ALLOWED_HOSTS that names a host; ``.example.com`` names its domain."""
    names = (pattern.removeprefix(".") for pattern in settings.ALLOWED_HOSTS if pattern != "*")
    return next(names, None)


def _check_spelling(url: str, *, may_be_relative: bool) -> None:
    if not url:
        raise WarmingError("is empty")
    if BLANKS.search(url):
        raise WarmingError("contains a blank or a control character; write it percent-encoded")
    if not may_be_relative and not url.startswith("/") and not HAS_SCHEME.match(url):
        raise WarmingError("is neither a path that begins with '/' nor an http or https URL")


def _split(url: str, base: str) -> SplitResult:
    try:
        # A full URL is left as it is: urljoin() would lend "http:///page/" the base's host.
        parts = urlsplit(url if HAS_SCHEME.match(url) else urljoin(base, url))
        _ = parts.port  # raises where it is no number
    except ValueError as error:
        raise WarmingError(f"is not a valid URL: {error}") from None
    if parts.scheme not in SCHEMES:
        raise WarmingError(f"has the scheme {parts.scheme!r}; only http and https are warmed")
    if parts.username is not None:
        raise WarmingError("contains a user name; only public pages are warmed")
    return parts


def _check_host(parts: SplitResult) -> None:
    domain, _ = split_domain_port(parts.netloc.lower())
    if not domain or not validate_host(domain, _allowed_hosts()):
        raise WarmingError(f"is on another host: {parts.netloc!r} is not in ALLOWED_HOSTS")


def _allowed_hosts() -> list[str]:
    if settings.DEBUG and not settings.ALLOWED_HOSTS:
        return DEBUG_HOSTS
    return list(settings.ALLOWED_HOSTS)


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
