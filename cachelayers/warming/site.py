"""Render the site's own pages in this process, through its real middleware stack.

Called by the plan (sitemaps) and by the items (pages).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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

from cachelayers.warming.addresses import Address, locate
from cachelayers.warming.outcomes import WarmingError
from cachelayers.warming.visits import Visit, Visitor

DEFAULT_PORTS = {"http": "80", "https": "443"}
VISIT = "cachelayers.visit"  # the key of the visit in the WSGI environment


@dataclass(kw_only=True)
class SiteVisit:
    """A visit and the request that was made for it."""

    visit: Visit
    request: HttpRequest | None = None
    user: object = None  # for whom the page would have been made


class PageOfUser(Exception):
    """A view asked who the visitor is, and it is somebody. It is not to go on."""


class SiteHandler(WSGIHandler):
    """Django's handler, which also leaves its request with the visit, and refuses users."""

    def get_response(self, request: HttpRequest) -> HttpResponseBase:
        """Answer as always."""
        request.META[VISIT].request = request
        return super().get_response(request)

    def _get_response(self, request: HttpRequest) -> HttpResponseBase:
        # Django calls this within all middleware, just before the view is looked up.
        try:
            watch_user(request)
        except PageOfUser:
            return HttpResponseForbidden()
        return super()._get_response(request)  # type: ignore[misc, no-any-return] # not in the stubs


class Site(Visitor):
    """The site as a visitor without cookies sees it. Threads may share one."""

    def __init__(self) -> None:
        self._handler = SiteHandler()
        got_request_exception.connect(_note_error, dispatch_uid=VISIT)

    def locate(self, url: str, *, base: str | None = None) -> Address:
        """The address that a path or URL names; raises WarmingError where it is elsewhere."""
        return locate(url, base=base)

    def request(self, address: Address, visit: Visit) -> None:
        """Render one page and read it to its end."""
        rendered = SiteVisit(visit=visit)
        environ = build_environ(address, rendered)
        # A page begins with the site's language and time zone, as in a server, and the next item
        # must not inherit those that it activates.
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
                " cookie; only pages of visitors are warmed"
            )
        # The flag by which FetchFromCacheMiddleware tells UpdateCacheMiddleware of a hit. It
        # knows the language, the key prefix and the alias of a single view's cache_page;
        # get_cache_key() on a request that has not passed the middleware knows none of them.
        visit.came_from_page_cache = getattr(rendered.request, "_cache_update_cache", None) is False


@contextmanager
def transactions_kept() -> Iterator[None]:
    """Keep the connections open where the caller is within a transaction, as every test case is.

    Django closes them at the begin and at the end of a request, and their transactions with them;
    its own test client does the same as this.
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


def watch_user(request: HttpRequest) -> None:
    """Raise PageOfUser for a logged-in user, now or when the view asks who it is.

    A user who is not known yet is not asked for here: Django looks into the session then, and pages
    that do have another place in the page cache (``Vary: Cookie``).
    """
    user = request.__dict__.get("user")
    if isinstance(user, SimpleLazyObject):
        request.__dict__["user"] = SimpleLazyObject(lambda: refuse_user(request, user))
    else:
        refuse_user(request, user)


def refuse_user(request: HttpRequest, user: Any) -> Any:
    """Return somebody who is not logged in; raise PageOfUser for everybody else."""
    if getattr(user, "is_authenticated", False):
        request.META[VISIT].user = user
        raise PageOfUser(user)
    return user


def build_environ(address: Address, rendered: SiteVisit) -> dict[str, Any]:
    """The WSGI environment (PEP 3333) of a GET request without cookies."""
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
        visit.take(chunk, size=size)


def _note_error(*, request: HttpRequest | None = None, **_kwargs: object) -> None:
    """Keep what a view raised: Django turns it into a page of status 500."""
    rendered = request.META.get(VISIT) if isinstance(request, WSGIRequest) else None
    if rendered is not None:
        rendered.visit.error = sys.exception()
