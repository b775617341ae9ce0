"""The command ``cache_stats``: which caches and layers work, and what they hold."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.core.management.base import BaseCommand

from cachelayers.backends import LayeredCache
from cachelayers.backends.faults import UNWELL

WATCH_SECONDS = 2.0
HEADINGS = ("cache", "layer", "backend", "state", "entries", "bytes")


class Command(BaseCommand):
    """Ask every cache of CACHES, and each layer of a LayeredCache by itself."""

    help = (
        "Ask every cache, and each layer of a layered one, whether it works and what it holds. "
        "The memory of a process is only known to that process: here it is this command's own."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the form of what is printed."""
        parser.add_argument("--json", action="store_true", help="print JSON, one object a look")
        parser.add_argument("--watch", action="store_true", help="look again until interrupted")

    def handle(self, **options: Any) -> None:
        """Look once, or again and again."""
        while True:
            found = [one for alias in settings.CACHES for one in look_at(alias)]
            self.stdout.write(json.dumps(found) if options["json"] else in_columns(found))
            if not options["watch"]:
                return
            try:
                time.sleep(WATCH_SECONDS)
            except KeyboardInterrupt:
                return


def look_at(alias: str) -> Iterator[dict[str, Any]]:
    """Yield what is to be said of a cache: a line, or one for each layer."""
    backend: str = settings.CACHES[alias].get("BACKEND", "").rpartition(".")[2]
    error, entries = None, None
    try:
        cache: Any = caches[alias]
        if isinstance(cache, LayeredCache):
            for layer in cache.describe_layers():
                yield {"cache": alias, "layer": layer.pop("alias"), **layer}
            return
        cache.get("cachelayers.probe")
        entries = cache.count_entries() if hasattr(cache, "count_entries") else None
    except UNWELL as caught:
        error = f"{type(caught).__name__}: {caught}"[:200]
    facts = {} if entries is None else {"entries": entries}
    yield {"cache": alias, "layer": None, "backend": backend, "error": error, **facts}


def in_columns(found: Sequence[dict[str, Any]]) -> str:
    """Return a table in text."""
    rows = [HEADINGS, *map(row_of, found)]
    widths = [max(len(row[number]) for row in rows) for number in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def row_of(one: dict[str, Any]) -> tuple[str, ...]:
    """Return one line of the table."""
    return (
        one["cache"],
        one["layer"] or "",
        one["backend"],
        "works" if one["error"] is None else one["error"],
        *(f"{one[name]:,}" if name in one else "" for name in ("entries", "bytes")),
    )
