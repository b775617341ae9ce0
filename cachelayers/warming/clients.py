"""Requests pages like a browser: rendered in this process, or over HTTP from a running server.

The items of a run (`items`) and the sitemaps (`plan`) are requested here.
"""

from __future__ import annotations

import logging
import ssl
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from io import BytesIO
from typing import Any, cast
from urllib.parse import unquote_to_bytes, urlsplit

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.core.signals import got_request_exception, request_finished, request_started
from django.db import close_old_connections, connections
from django.http.request import HttpRequest
from django.http.response import HttpResponseBase, HttpResponseForbidden
from django.utils import timezone, translation
from django.utils.functional import SimpleLazyObject

from cachelayers.warming.addresses import PLAIN, SCHEMES, Address, Variant, locate
from cachelayers.warming.outcomes import WarmingError, describe_error

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
    error: BaseException | None = None
    status: int = 0
    reason: str = ""
    location: str = ""
    came_from_page_cache: bool = False
    body: bytearray = field(default_factory=bytearray)

    def take(self, chunk: bytes, *, size: int) -> None:
        """Store a part of the response if it is wanted. ``size``: bytes so far."""
        if self.keep_bytes is None:
            return
        if size > self.keep_bytes:
            raise WarmingError(f"is longer than {self.keep_bytes:,} bytes")
        self.body += chunk

    def headers(self, scheme: str) -> dict[str, str]:
        """Return the request headers: without cookies and credentials."""
        accepted = ACCEPT_ENCODING[scheme] if self.keep_bytes is None else "identity"
        usual = {"User-Agent": USER_AGENT, "Accept": ACCEPT, "Accept-Encoding": accepted}
        own = {name.title(): value for name, value in self.variant.headers}
        return {**usual, **own}


class Client:
    """An HTTP client without cookies. Threads may share one."""

    def locate(self, url: str, *, base: str | None = None) -> Address:
        """Return the address of a path or URL. Raises WarmingError for other sites."""
        raise LookupError  # each subclass has its own

    def request(self, address: Address, visit: Visit) -> None:
        """Request one page and read it completely."""
        raise LookupError

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
                check_success(visit)
                return visit
            address = self._redirect_target(address, visit.location)
        raise WarmingError(f"redirects more than {MAX_REDIRECTS} times")

    def _redirect_target(self, address: Address, location: str) -> Address:
        try:
            return self.locate(location, base=str(address))
        except WarmingError as error:
            raise WarmingError(f"redirects to {location!r}, which {error}") from None


def check_success(visit: Visit) -> None:
    """Raise WarmingError for an error response."""
    if visit.status < HTTPStatus.BAD_REQUEST:
        return
    if visit.error is not None:
        raise WarmingError(
            f"answered {visit.status}: {describe_error(visit.error)}"
        ) from visit.error
    raise WarmingError(f"answered {visit.status} ({visit.reason})")


DEFAULT_PORTS = {"http": "80", "https": "443"}
VISIT = "cachelayers.visit"  # the key of the visit in the WSGI environment


@dataclass(kw_only=True)
class SiteVisit:
    """A visit and its Django request."""

    visit: Visit
    request: HttpRequest | None = None
    user: object = None  # the user for whom the page would be rendered


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
    """Renders the site's pages in this process, without cookies. Threads may share one."""

    def __init__(self) -> None:
        self._handler = SiteHandler()
        got_request_exception.connect(_note_error, dispatch_uid=VISIT)

    def locate(self, url: str, *, base: str | None = None) -> Address:
        """Return the address of a path or URL. Raises WarmingError for other sites."""
        return locate(url, base=base)

    def request(self, address: Address, visit: Visit) -> None:
        """Render one page and read it completely."""
        rendered = SiteVisit(visit=visit)
        environ = build_environ(address, rendered)
        # As in a server, a page starts with the default language and time zone, and the next item
        # must not inherit what it activates.
        with (
            translation.override(settings.LANGUAGE_CODE),
            timezone.override(None),
            transactions_kept(),
        ):
            response = self._handler(environ, _start_response)
            try:
                _take_answer(response, visit)
            finally:
                response.close()  # sends request_finished, which closes the connections
        if rendered.user is not None:
            raise WarmingError(
                f"is made for the user {str(rendered.user)!r}, whom a middleware logs in without a"
                " cookie; only pages without a user are warmed"
            )
        # FetchFromCacheMiddleware marks a hit with this flag for UpdateCacheMiddleware.
        # get_cache_key() would not do: it needs the language, key prefix and alias that the
        # middleware or cache_page uses.
        visit.came_from_page_cache = getattr(rendered.request, "_cache_update_cache", None) is False


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


def build_environ(address: Address, rendered: SiteVisit) -> dict[str, Any]:
    """Return the WSGI environment (PEP 3333) of a GET request without cookies."""
    parts = urlsplit(str(address))
    headers = rendered.visit.headers(address.scheme)
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
        VISIT: rendered,
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


def _take_answer(response: HttpResponseBase, visit: Visit) -> None:
    visit.status, visit.reason = response.status_code, response.reason_phrase
    visit.location = response.headers.get("Location", "")
    size = 0
    for chunk in cast("Any", response):
        size += len(chunk)
        visit.take(chunk, size=size)


def _note_error(*, request: HttpRequest | None = None, **_kwargs: object) -> None:
    """Store a view's exception, which Django turns into a page with status 500."""
    rendered = request.META.get(VISIT) if isinstance(request, WSGIRequest) else None
    if rendered is not None:
        rendered.visit.error = sys.exception()


PIECE_BYTES = 64 * 2**10
USUAL_TIMEOUT_SECONDS = 60.0  # without a byte from the server


class Server(Client):
    """Requests pages from a running server."""

    def __init__(self, origin: str, *, timeout: float | None = None) -> None:
        """``origin``: as returned by check_origin(); ``timeout``: in seconds."""
        parts = urlsplit(origin)
        self._origin = origin
        self._scheme, self._host, self._port = parts.scheme, parts.hostname or "", parts.port
        self._timeout = timeout or USUAL_TIMEOUT_SECONDS
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None

    def locate(self, url: str, *, base: str | None = None) -> Address:
        """Return the address of a path or URL. Raises WarmingError for other sites."""
        return locate(url, base=base, origin=self._origin)

    def request(self, address: Address, visit: Visit) -> None:
        """Request one page and read it completely."""
        with self._answer(address, visit) as response:
            visit.status, visit.reason = response.status, response.reason
            visit.location = response.headers.get("Location", "")
            size = 0
            while piece := response.read(PIECE_BYTES):
                size += len(piece)
                visit.take(piece, size=size)

    @contextmanager
    def _answer(self, address: Address, visit: Visit) -> Iterator[HTTPResponse]:
        # One connection per page: many servers close it anyway. With a reused connection, a closed
        # one could not be distinguished from a request that was processed and failed.
        connection = self._connection()
        path = f"{address.path}?{address.query}" if address.query else address.path
        headers = {"Host": address.host, **visit.headers(address.scheme), "Connection": "close"}
        with closing(connection):
            try:
                connection.request("GET", path, headers=headers)
                yield connection.getresponse()
            except (OSError, HTTPException) as error:
                raise WarmingError(
                    f"was not answered by {self._origin}: {describe_error(error)}"
                ) from error

    def _connection(self) -> HTTPConnection:
        if self._tls is not None:
            return HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._tls)
        return HTTPConnection(self._host, self._port, timeout=self._timeout)


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
    while logger is not None:
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream in _screens():
                yield handler
        logger = logger.parent if logger.propagate else None
    # If no handler is configured, logging writes to the screen through this one.
    if logging.lastResort is not None:
        yield logging.lastResort


def _screens() -> tuple[object, ...]:
    return sys.stdout, sys.stderr


def _is_of_no_warmed_page(record: logging.LogRecord) -> bool:
    request = getattr(record, "request", None)
    return not (isinstance(request, HttpRequest) and VISIT in request.META)
