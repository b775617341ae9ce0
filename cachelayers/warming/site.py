"""Render the site's own pages in this process, through its real middleware stack.

Called by the plan (sitemaps) and by the items (pages).
"""

import sys
from dataclasses import dataclass, field
from http import HTTPStatus
from io import BytesIO
from typing import Any, cast
from urllib.parse import unquote_to_bytes, urlsplit

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.core.signals import got_request_exception
from django.http.request import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone, translation

from cachelayers.warming.addresses import Address, locate
from cachelayers.warming.outcomes import WarmingError, describe_error

MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
DEFAULT_PORTS = {"http": "80", "https": "443"}
# A compressed page is another entry of Django's page cache (Vary: Accept-Encoding), so this
# asks as the readers' browsers do: current Chrome, Edge and Firefox send exactly these.
ACCEPT_ENCODING = {"http": "gzip, deflate", "https": "gzip, deflate, br, zstd"}
VISIT = "cachelayers.visit"  # the key of the visit in the WSGI environment


@dataclass(kw_only=True)
class Visit:
    """One request and what came of it."""

    keep_bytes: int | None = None
    request: HttpRequest | None = None
    error: BaseException | None = None
    status: int = 0
    reason: str = ""
    location: str = ""
    body: bytearray = field(default_factory=bytearray)

    @property
    def came_from_page_cache(self) -> bool:
        """Whether Django's cache middleware or ``cache_page`` had the page already."""
        # The flag by which FetchFromCacheMiddleware tells UpdateCacheMiddleware of a hit. It
        # knows the language, the key prefix and the alias of a single view's cache_page;
        # get_cache_key() on a request that has not passed the middleware knows none of them.
        return getattr(self.request, "_cache_update_cache", None) is False


class SiteHandler(WSGIHandler):
    """Django's handler, which also leaves its request with the visit."""

    def get_response(self, request: HttpRequest) -> HttpResponseBase:
        """Answer as always."""
        request.META[VISIT].request = request
        return super().get_response(request)


class Site:
    """The site as a visitor without cookies sees it. Threads may share one."""

    def __init__(self) -> None:
        self._handler = SiteHandler()
        got_request_exception.connect(_note_error, dispatch_uid=VISIT)

    def visit(self, address: Address) -> Visit:
        """Render a page and read it to its end; raises WarmingError unless it succeeds."""
        return self._follow(address, keep_bytes=None)

    def read(self, address: Address, *, max_bytes: int) -> bytes:
        """The body of a page; raises WarmingError also where it is longer than ``max_bytes``."""
        return bytes(self._follow(address, keep_bytes=max_bytes).body)

    def _follow(self, address: Address, *, keep_bytes: int | None) -> Visit:
        for _ in range(MAX_REDIRECTS + 1):
            visit = self._request(address, Visit(keep_bytes=keep_bytes))
            if visit.status not in REDIRECTS:
                _check_success(visit)
                return visit
            address = _redirect_target(address, visit.location)
        raise WarmingError(f"redirects more than {MAX_REDIRECTS} times")

    def _request(self, address: Address, visit: Visit) -> Visit:
        environ = build_environ(address, visit)
        # A page begins with the site's language and time zone, as in a server, and the next item
        # must not inherit those that it activates.
        with translation.override(settings.LANGUAGE_CODE), timezone.override(None):
            response = self._handler(environ, _start_response)
            try:
                _take_answer(response, visit)
            finally:
                response.close()  # sends request_finished, which closes the connections
        return visit


def build_environ(address: Address, visit: Visit) -> dict[str, Any]:
    """The WSGI environment (PEP 3333) of a GET request without cookies."""
    parts = urlsplit(str(address))
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
        "HTTP_USER_AGENT": "cachelayers-warm_cache",
        "HTTP_ACCEPT": "text/html,application/xhtml+xml,*/*;q=0.8",
        "HTTP_ACCEPT_ENCODING": (
            ACCEPT_ENCODING[address.scheme] if visit.keep_bytes is None else "identity"
        ),
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
    # FORCE_SCRIPT_NAME stands for a prefix that the web server takes off the path.
    prefix = (settings.FORCE_SCRIPT_NAME or "").rstrip("/")
    if prefix and path != prefix and not path.startswith(f"{prefix}/"):
        raise WarmingError(f"is outside of FORCE_SCRIPT_NAME, which is {prefix!r}")
    # PEP 3333: bytes in the guise of latin-1.
    return unquote_to_bytes(path.removeprefix(prefix) or "/").decode("latin-1")


def _start_response(*_arguments: object) -> Any:
    """Do nothing: Django's handler returns its response, which knows status and headers."""


def _take_answer(response: HttpResponseBase, visit: Visit) -> None:
    visit.status, visit.reason = response.status_code, response.reason_phrase
    visit.location = response.headers.get("Location", "")
    size = 0
    for chunk in cast("Any", response):
        size += len(chunk)
        if visit.keep_bytes is None:
            continue
        if size > visit.keep_bytes:
            raise WarmingError(f"is longer than {visit.keep_bytes:,} bytes")
        visit.body += chunk


def _check_success(visit: Visit) -> None:
    if visit.status < HTTPStatus.BAD_REQUEST:
        return
    if visit.error is not None:
        raise WarmingError(
            f"answered {visit.status}: {describe_error(visit.error)}"
        ) from visit.error
    raise WarmingError(f"answered {visit.status} ({visit.reason})")


def _redirect_target(address: Address, location: str) -> Address:
    try:
        return locate(location, base=str(address))
    except WarmingError as error:
        raise WarmingError(f"redirects to {location!r}, which {error}") from None


def _note_error(*, request: HttpRequest | None = None, **_kwargs: object) -> None:
    """Keep what a view raised: Django turns it into a page of status 500."""
    visit = request.META.get(VISIT) if isinstance(request, WSGIRequest) else None
    if visit is not None:
        visit.error = sys.exception()
