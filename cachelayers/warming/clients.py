"""Requests pages like a browser: rendered in this process, or over HTTP from a running server.

It also checks that a URL belongs to the site, and lists the variants of a page.
"""

from __future__ import annotations

import logging
import re
import ssl
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from io import BytesIO
from itertools import product
from typing import Any, cast
from urllib.parse import SplitResult, unquote_to_bytes, urljoin, urlsplit

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.core.signals import got_request_exception, request_finished, request_started
from django.db import close_old_connections, connections
from django.http.request import HttpRequest, split_domain_port, validate_host
from django.http.response import HttpResponseBase, HttpResponseForbidden
from django.utils import timezone, translation
from django.utils.encoding import iri_to_uri
from django.utils.functional import SimpleLazyObject

from cachelayers.warming.items import WarmingError, describe_error

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
    parts = _split(url, base or origin or site_origin(), may_be_relative=base is not None)
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


def _split(url: str, base: str, *, may_be_relative: bool) -> SplitResult:
    if not url:
        raise WarmingError("is empty")
    if BLANKS.search(url):
        raise WarmingError("contains a blank or a control character; write it percent-encoded")
    if not may_be_relative and not url.startswith("/") and not HAS_SCHEME.match(url):
        raise WarmingError("is neither a path that begins with '/' nor an http or https URL")
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
    allowed = settings.ALLOWED_HOSTS or (DEBUG_HOSTS if settings.DEBUG else [])
    domain, _ = split_domain_port(parts.netloc.lower())
    if not domain or not validate_host(domain, allowed):
        raise WarmingError(f"is on another host: {parts.netloc!r} is not in ALLOWED_HOSTS")


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


MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
USER_AGENT = "cachelayers-warm_cache"
ACCEPT = "text/html,application/xhtml+xml,*/*;q=0.8"
# Django's page cache stores a compressed page as another entry (Vary: Accept-Encoding). Current
# Chrome, Edge and Firefox send exactly these values.
ACCEPT_ENCODING = {"http": "gzip, deflate", "https": "gzip, deflate, br, zstd"}


@dataclass(kw_only=True)
class Visit:
    """One request and its response."""

    variant: Variant = PLAIN
    keep_bytes: int | None = None
    status: int = 0
    reason: str = ""
    location: str = ""
    came_from_page_cache: bool = False
    body: bytearray = field(default_factory=bytearray)
    # Of pages that are rendered here: Django's request, the exception of the view, and the user
    # for whom the page would be rendered.
    request: HttpRequest | None = None
    error: BaseException | None = None
    user: object = None

    def read(self, chunks: Iterable[bytes]) -> None:
        """Read a response to its end, and store it if it is wanted."""
        for chunk in chunks:
            if self.keep_bytes is not None:
                self.body += chunk
                if len(self.body) > self.keep_bytes:
                    raise WarmingError(f"is longer than {self.keep_bytes:,} bytes")

    def headers(self, scheme: str) -> dict[str, str]:
        """Return the request headers: without cookies and credentials."""
        accepted = ACCEPT_ENCODING[scheme] if self.keep_bytes is None else "identity"
        usual = {"User-Agent": USER_AGENT, "Accept": ACCEPT, "Accept-Encoding": accepted}
        own = {name.title(): value for name, value in self.variant.headers}
        return {**usual, **own}


class Client(ABC):
    """An HTTP client without cookies. Threads may share one."""

    origin: str | None = None  # of the server to request

    def locate(self, url: str, *, base: str | None = None) -> Address:
        """Return the address of a path or URL. Raises WarmingError for other sites."""
        return locate(url, base=base, origin=self.origin)

    @abstractmethod
    def request(self, address: Address, visit: Visit) -> None:
        """Request one page and read it completely."""

    def visit(self, address: Address, variant: Variant = PLAIN) -> Visit:
        """Request a page and read it completely. Raises WarmingError unless it succeeds."""
        return self._follow(address, variant=variant)

    def read(self, address: Address, *, max_bytes: int) -> bytes:
        """Return a page's body. Raises WarmingError also if it is longer than ``max_bytes``."""
        return bytes(self._follow(address, keep_bytes=max_bytes).body)

    def _follow(
        self, address: Address, *, variant: Variant = PLAIN, keep_bytes: int | None = None
    ) -> Visit:
        for _ in range(MAX_REDIRECTS + 1):
            visit = Visit(variant=variant, keep_bytes=keep_bytes)
            self.request(address, visit)
            if visit.status not in REDIRECTS:
                return check_success(visit)
            address = self._redirect_target(address, visit.location)
        raise WarmingError(f"redirects more than {MAX_REDIRECTS} times")

    def _redirect_target(self, address: Address, location: str) -> Address:
        try:
            return self.locate(location, base=str(address))
        except WarmingError as error:
            raise WarmingError(f"redirects to {location!r}, which {error}") from None


def check_success(visit: Visit) -> Visit:
    """Raise WarmingError for an error response."""
    if visit.status < HTTPStatus.BAD_REQUEST:
        return visit
    if visit.error is not None:
        raise WarmingError(
            f"answered {visit.status}: {describe_error(visit.error)}"
        ) from visit.error
    raise WarmingError(f"answered {visit.status} ({visit.reason})")


DEFAULT_PORTS = {"http": "80", "https": "443"}
VISIT = "cachelayers.visit"  # the key of the visit in the WSGI environment


class PageOfUser(Exception):
    """A view asked for the user, and one is logged in. The page must not be cached."""


class SiteHandler(WSGIHandler):
    """Django's handler, which also stores its request in the visit, and refuses users."""

    def get_response(self, request: HttpRequest) -> HttpResponseBase:
        request.META[VISIT].request = request
        return super().get_response(request)

    def _get_response(self, request: HttpRequest) -> HttpResponseBase:
        # Django calls this after all middleware, just before it resolves the view.
        try:
            guard_user(request)
        except PageOfUser:
            return HttpResponseForbidden()
        return super()._get_response(request)  # type: ignore[misc, no-any-return] # not in the stubs


class Site(Client):
    """Renders the site's pages in this process."""

    def __init__(self) -> None:
        self._handler = SiteHandler()
        got_request_exception.connect(_note_error, dispatch_uid=VISIT)

    def request(self, address: Address, visit: Visit) -> None:
        """Render one page and read it completely."""
        environ = build_environ(address, visit)
        # As in a server, a page starts with the default language and time zone, and the next item
        # must not inherit what it activates.
        with (
            translation.override(settings.LANGUAGE_CODE),
            timezone.override(None),
            transactions_kept(),
        ):
            response = self._handler(environ, _start_response)
            try:
                visit.status, visit.reason = response.status_code, response.reason_phrase
                visit.location = response.headers.get("Location", "")
                visit.read(cast("Iterable[bytes]", response))
            finally:
                response.close()  # sends request_finished, which closes the connections
        if visit.user is not None:
            raise WarmingError(
                f"is made for the user {str(visit.user)!r}, whom a middleware logs in without a"
                " cookie; only pages without a user are warmed"
            )
        # FetchFromCacheMiddleware marks a hit with this flag for UpdateCacheMiddleware.
        # get_cache_key() would not do: it needs the language, key prefix and alias that the
        # middleware or cache_page uses.
        visit.came_from_page_cache = getattr(visit.request, "_cache_update_cache", None) is False


@contextmanager
def transactions_kept() -> Iterator[None]:
    """Keep connections open if the caller is in a transaction, like every test case.

    Django closes them, and their transactions, before and after a request. Its test client does the
    same as this.
    """
    if not any(each.in_atomic_block for each in connections.all(initialized_only=True)):
        yield
        return
    signals = (request_started, request_finished)
    for each in signals:
        each.disconnect(close_old_connections)
    try:
        yield
    finally:
        for each in signals:
            each.connect(close_old_connections)


def guard_user(request: HttpRequest) -> None:
    """Raise PageOfUser for a logged-in user, now or when the view asks for the user.

    A lazy user is not evaluated here, because that reads the session, which changes the page's key
    (``Vary: Cookie``).
    """
    user = request.__dict__.get("user")
    if isinstance(user, SimpleLazyObject):
        request.__dict__["user"] = SimpleLazyObject(lambda: refuse_user(request, user))
    else:
        refuse_user(request, user)


def refuse_user(request: HttpRequest, user: Any) -> Any:
    """Return an anonymous user; raise PageOfUser for any other."""
    if getattr(user, "is_authenticated", False):
        request.META[VISIT].user = user
        raise PageOfUser(user)
    return user


def build_environ(address: Address, visit: Visit) -> dict[str, Any]:
    """Return the WSGI environment (PEP 3333) of a GET request without cookies."""
    parts = urlsplit(str(address))
    headers = visit.headers(address.scheme)
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": _path_info(address.path),
        "QUERY_STRING": address.query,
        "SERVER_NAME": parts.hostname or "",
        "SERVER_PORT": str(parts.port or DEFAULT_PORTS[address.scheme]),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": address.host,
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()},
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": address.scheme,
        "wsgi.input": BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        VISIT: visit,
    }


def _path_info(path: str) -> str:
    # FORCE_SCRIPT_NAME is a prefix that the web server removes from the path.
    prefix = (settings.FORCE_SCRIPT_NAME or "").rstrip("/")
    if prefix and path != prefix and not path.startswith(f"{prefix}/"):
        raise WarmingError(f"is outside of FORCE_SCRIPT_NAME, which is {prefix!r}")
    # PEP 3333: bytes decoded as latin-1.
    return unquote_to_bytes(path.removeprefix(prefix) or "/").decode("latin-1")


def _start_response(*_arguments: object) -> Any:
    """Do nothing: Django's handler returns its response, with status and headers."""


def _note_error(*, request: HttpRequest | None = None, **_kwargs: object) -> None:
    """Store a view's exception, which Django turns into a page with status 500."""
    visit = request.META.get(VISIT) if isinstance(request, WSGIRequest) else None
    if visit is not None:
        visit.error = sys.exception()


PIECE_BYTES = 64 * 2**10
USUAL_TIMEOUT_SECONDS = 60.0  # without a byte from the server


class Server(Client):
    """Requests pages from a running server."""

    def __init__(self, origin: str, *, timeout: float | None = None) -> None:
        """``origin``: as returned by check_origin(); ``timeout``: in seconds."""
        parts = urlsplit(origin)
        self.origin = origin
        self._host, self._port = parts.hostname or "", parts.port
        self._timeout = timeout or USUAL_TIMEOUT_SECONDS
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None

    def request(self, address: Address, visit: Visit) -> None:
        """Request one page and read it completely."""
        with self._answer(address, visit) as response:
            visit.status, visit.reason = response.status, response.reason
            visit.location = response.headers.get("Location", "")
            visit.read(iter(partial(response.read, PIECE_BYTES), b""))

    @contextmanager
    def _answer(self, address: Address, visit: Visit) -> Iterator[HTTPResponse]:
        # One connection per page: many servers close it anyway. With a reused connection, a closed
        # one could not be distinguished from a request that was processed and failed.
        if self._tls is None:
            connection = HTTPConnection(self._host, self._port, timeout=self._timeout)
        else:
            connection = HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=self._tls
            )
        path = f"{address.path}?{address.query}" if address.query else address.path
        headers = {"Host": address.host, **visit.headers(address.scheme), "Connection": "close"}
        with closing(connection):
            try:
                connection.request("GET", path, headers=headers)
                yield connection.getresponse()
            except (OSError, HTTPException) as error:
                raise WarmingError(
                    f"was not answered by {self.origin}: {describe_error(error)}"
                ) from error


def check_origin(url: str) -> str:
    """Return the ``http://host:port`` of a server. ValueError with the reason for other texts."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises if it is not a number
    except ValueError as error:
        raise ValueError(f"{url!r} is not a valid URL: {error}") from None
    if parts.username is not None:
        raise ValueError(f"{parts.hostname!r} is named with a user; only public pages are warmed")
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise ValueError(f"{url!r} is no http or https URL, such as http://127.0.0.1:8000")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(f"{url!r} has more than scheme, host and port; leave the rest out")
    return f"{parts.scheme}://{parts.netloc.lower()}"


@contextmanager
def without_logged_pages() -> Iterator[None]:
    """Keep log records about warmed pages off the screen.

    The command reports each failure itself; a traceback for each would hide that and break the
    progress bar. Handlers for files, mail and others get their records.
    """
    handlers = list(_screen_handlers(logging.getLogger("django.request")))
    for handler in handlers:
        handler.addFilter(_is_of_no_warmed_page)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(_is_of_no_warmed_page)


def _screen_handlers(logger: logging.Logger | None) -> Iterator[logging.Handler]:
    screens = (sys.stdout, sys.stderr)
    while logger is not None:
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream in screens:
                yield handler
        logger = logger.parent if logger.propagate else None
    # If no handler is configured, logging writes to the screen through this one.
    if logging.lastResort is not None:
        yield logging.lastResort


def _is_of_no_warmed_page(record: logging.LogRecord) -> bool:
    request = getattr(record, "request", None)
    return not (isinstance(request, HttpRequest) and VISIT in request.META)
