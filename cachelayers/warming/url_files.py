"""Read a list of URLs, one a line. Called by ``warm_cache``; touches no cache."""

from collections.abc import Iterable, Iterator


def read_url_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The URLs with their line numbers; blank lines and those that begin with # are left out."""
    for number, line in enumerate(lines, start=1):
        url = line.strip().removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")  # a byte order mark
        if url and not url.startswith("#"):
            yield number, url
