"""Ask for a page as a visitor would, and follow where it leads. The site's and the server's common
part; carried out by ``site`` (in this process) and by ``server`` (over HTTP).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus

from cachelayers.warming.addresses import Address
from cachelayers.warming.outcomes import WarmingError, describe_error
from cachelayers.warming.variants import PLAIN, Variant

MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
USER_AGENT = "cachelayers-warm_cache"
ACCEPT = "text/html,application/xhtml+xml,*/*;q=0.8"
# A compressed page is another entry of Django's page cache (Vary: Accept-Encoding), so this
# asks as the readers' browsers do: current Chrome, Edge and Firefox send exactly these.
ACCEPT_ENCODING = {"http": "gzip, deflate", "https": "gzip, deflate, br, zstd"}


@dataclass(kw_only=True)
class Visit:
    """One request and what came of it."""

    variant: Variant = PLAIN
    keep_bytes: int | None = None
    error: BaseException | None = None
    status: int = 0
    reason: str = ""
    location: str = ""
    came_from_page_cache: bool = False
    body: bytearray = field(default_factory=bytearray)

    def take(self, chunk: bytes, *, size: int) -> None:
        """Keep a piece of the answer, if it is wanted; ``size`` is that of the answer so far."""
        if self.keep_bytes is None:
            return
        if size > self.keep_bytes:
            raise WarmingError(f"is longer than {self.keep_bytes:,} bytes")
        self.body += chunk

    def headers(self, scheme: str) -> dict[str, str]:
        """What the visitor sends: no cookie, and nothing that says who it is."""
        accepted = ACCEPT_ENCODING[scheme] if self.keep_bytes is None else "identity"
        usual = {"User-Agent": USER_AGENT, "Accept": ACCEPT, "Accept-Encoding": accepted}
        own = {name.title(): value for name, value in self.variant.headers}
        return {**usual, **own}


class Visitor:
    """Somebody without cookies. Threads may share one."""

    def locate(self, url: str, *, base: str | None = None) -> Address:
        """The address that a path or URL names; raises WarmingError where it is elsewhere."""
        raise LookupError  # each kind of visitor has its own

    def request(self, address: Address, visit: Visit) -> None:
        """Ask for one page and read it to its end."""
        raise LookupError

    def visit(self, address: Address, variant: Variant = PLAIN) -> Visit:
        """Ask for a page and read it to its end; raises WarmingError unless it succeeds."""
        return self._follow(address, variant=variant)

    def read(self, address: Address, *, max_bytes: int) -> bytes:
        """The body of a page; raises WarmingError also where it is longer than ``max_bytes``."""
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
    """Raise WarmingError for an answer that is an error."""
    if visit.status < HTTPStatus.BAD_REQUEST:
        return
    if visit.error is not None:
        raise WarmingError(
            f"answered {visit.status}: {describe_error(visit.error)}"
        ) from visit.error
    raise WarmingError(f"answered {visit.status} ({visit.reason})")
