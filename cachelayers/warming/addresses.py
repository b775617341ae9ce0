"""Checks that a URL belongs to the site, and lists the variants of a page.

`clients` and `plan` use it for each URL.
"""

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
# Django allows these hosts if DEBUG is on and ALLOWED_HOSTS is empty (django.http.request).
DEBUG_HOSTS = [".localhost", "127.0.0.1", "[::1]"]
# urlsplit() silently drops tabs and line ends; a URL with one is a mistake.
BLANKS = re.compile(r"[\x00-\x20\x7f]")
HAS_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


@dataclass(frozen=True, kw_only=True)
class Address:
    """A URL of the site: checked, percent-encoded, without fragment."""

    scheme: str
    host: str  # with the port, if one was given, like a Host header
    path: str
    query: str

    def __str__(self) -> str:
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{self.host}{self.path}{query}"


def locate(url: str, *, base: str | None = None, origin: str | None = None) -> Address:
    """Return the checked address of a path or URL. Raises WarmingError for other sites.

    ``base`` is the URL of the page that contains it; only then it may be relative. ``origin`` is
    the origin of the server to request, whose host is allowed in addition to ALLOWED_HOSTS.
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
    """Return scheme and host for URLs that are only a path, from ALLOWED_HOSTS and the settings."""
    return f"{'https' if settings.SECURE_SSL_REDIRECT else 'http'}://{own_host() or 'localhost'}"


def own_host() -> str | None:
    """Return the first host in ALLOWED_HOSTS; for ``.example.com``, the domain."""
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
        # A full URL stays as it is: urljoin() would add the base's host to "http:///page/".
        parts = urlsplit(url if HAS_SCHEME.match(url) else urljoin(base, url))
        _ = parts.port  # raises if it is not a number
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
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a field name in RFC 9110
PRINTABLE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")
# Headers that identify a user: a page made for a user must not get into the cache.
OF_USERS = frozenset(
    {
        *("authorization", "cookie", "proxy-authorization"),
        *("remote-user", "x-remote-user", "x-forwarded-user", "x-auth-request-user"),
    }
)
# Headers that each request has, or that would change its kind.
OF_REQUESTS = frozenset(
    {
        *("connection", "content-length", "content-type", "expect", "host", "keep-alive"),
        *("range", "te", "trailer", "transfer-encoding", "upgrade"),
        *("if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Extra headers of a request, which select another variant of the page."""

    headers: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return ", ".join(f"{name}: {value}" for name, value in self.headers)


PLAIN = Variant()


def make_variants(languages: Iterable[str], headers: Iterable[tuple[str, str]]) -> list[Variant]:
    """Return all combinations of the values of different headers."""
    values: dict[str, list[str]] = {}
    for name, value in [*((ACCEPT_LANGUAGE, each) for each in languages), *headers]:
        known = values.setdefault(name.title(), [])
        if value not in known:
            known.append(value)
    combinations: Iterable[Sequence[str]] = product(*values.values())
    return [Variant(headers=tuple(zip(values, each, strict=True))) for each in combinations]


def parse_header(text: str) -> tuple[str, str]:
    """Return name and value of ``Name: value``. ValueError if the header must not be sent."""
    name, colon, value = text.partition(":")
    name, value = name.strip(" "), value.strip(" \t")
    if not colon or not TOKEN.fullmatch(name) or not PRINTABLE.fullmatch(value):
        raise ValueError(f"{text!r} is no header. Write it 'Name: value'")
    if name.lower() in OF_USERS:
        raise ValueError(f"{name} identifies a user, and pages of users are never warmed")
    if name.lower() in OF_REQUESTS:
        raise ValueError(f"{name} is not for you to choose: a page's request has its own")
    return name, value
