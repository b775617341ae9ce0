"""Ask a running server for the site's pages over HTTP, and nobody else. For ``--base-url``.

Every request goes to the one server that was named, whatever the host of a URL: that one is sent
as ``Host``. So a single machine behind a load balancer can be warmed, and no URL leads elsewhere.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import urlsplit

from cachelayers.warming.addresses import SCHEMES, Address, locate
from cachelayers.warming.outcomes import WarmingError, describe_error
from cachelayers.warming.visits import Visit, Visitor

PIECE_BYTES = 64 * 2**10
USUAL_TIMEOUT_SECONDS = 60.0  # without a byte from the server


class Server(Visitor):
    """The site as a server answers it."""

    def __init__(self, origin: str, *, timeout: float | None = None) -> None:
        """``origin``: as check_origin() returns it; ``timeout``: in seconds."""
        parts = urlsplit(origin)
        self._origin = origin
        self._scheme, self._host, self._port = parts.scheme, parts.hostname or "", parts.port
        self._timeout = timeout or USUAL_TIMEOUT_SECONDS
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None

    def locate(self, url: str, *, base: str | None = None) -> Address:
        """The address that a path or URL names; raises WarmingError where it is elsewhere."""
        return locate(url, base=base, origin=self._origin)

    def request(self, address: Address, visit: Visit) -> None:
        """Ask for one page and read it to its end."""
        with self._answer(address, visit) as response:
            visit.status, visit.reason = response.status, response.reason
            visit.location = response.headers.get("Location", "")
            size = 0
            while piece := response.read(PIECE_BYTES):
                size += len(piece)
                visit.take(piece, size=size)

    @contextmanager
    def _answer(self, address: Address, visit: Visit) -> Iterator[HTTPResponse]:
        # A connection for each page: many servers close it after each anyway, and one that was
        # closed meanwhile cannot be told from a request that was carried out and failed.
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
    """``http://host:port`` of a server; raises ValueError with the reason where it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number
    except ValueError as error:
        raise ValueError(f"{url!r} is not a valid URL: {error}") from None
    if parts.username is not None:
        raise ValueError(f"{parts.hostname!r} is named with a user; only public pages are warmed")
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise ValueError(f"{url!r} is no http or https URL, such as http://127.0.0.1:8000")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(f"{url!r} has more than scheme, host and port; leave the rest out")
    return f"{parts.scheme}://{parts.netloc.lower()}"
