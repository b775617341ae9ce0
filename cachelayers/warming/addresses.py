"""Which URLs are the site's own. Used by ``Site``; renders nothing."""

import re
from dataclasses import dataclass
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
