"""`manage.py measure_edits`: measure how much of the cache stays when somebody edits an airport."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from django.core.cache import caches
from django.core.management.base import BaseCommand, CommandError

from cachelayers import unit_of_work
from cachelayers.signals import entry_computed
from testproject.airports import warmers
from testproject.airports.models import Airport
from testproject.pages.management.commands.measure_pages import CACHE_ALIAS, Site
from testproject.pages.warmers import cms_pages

EDITED = " (renamed)"


@dataclass(frozen=True)
class Visits:
    """What happened when all pages were shown once: the keys of entries, by the page's path."""

    found: dict[str, frozenset[str]]
    computed: dict[str, frozenset[str]]


@dataclass(frozen=True)
class Kept:
    """How much was still true after an edit."""

    pages: int
    warm_pages: int  # shown without computing any cached function or fragment again
    entries: int
    valid_entries: int


class Command(BaseCommand):
    help = (
        "Shows all pages that are warmed, changes the name of one airport, and shows the pages "
        "again: once for an ordinary airport, once for a hub. Prints how many pages came from the "
        "cache without computing any cached function or fragment again, and how many of their "
        "entries were still valid. The names are as before afterwards."
    )

    def handle(self, *args: object, **options: object) -> None:
        with unit_of_work():
            paths, edited = warmed_paths(), airports_to_edit()
        site = Site()
        visit_all(site, paths)  # once: some entries are made when a page is first shown from others
        for kind, airport in edited:
            before = visit_all(site, paths)
            with renamed(airport):
                kept = compare(before, visit_all(site, paths))
            self.stdout.write(sentence(kind, airport, kept))


def warmed_paths() -> list[str]:
    """Return the paths of the pages that `warm_cache` fills."""
    pages = (warmers.world_page, warmers.country_pages, warmers.airport_pages, cms_pages)
    return [path for yield_paths in pages for path in yield_paths()]


def airports_to_edit() -> list[tuple[str, Airport]]:
    """Return an ordinary airport and a hub, each in the middle of all by its code."""
    return [
        ("an ordinary airport", middle_airport(is_hub=False)),
        ("a hub", middle_airport(is_hub=True)),
    ]


def middle_airport(*, is_hub: bool) -> Airport:
    airports = Airport.objects.filter(is_hub=is_hub).order_by("icao")
    count = airports.count()
    if not count:
        raise CommandError("There is nothing to edit yet. Run `manage.py load_airports` first.")
    return airports[count // 2]


def compare(before: Visits, after: Visits) -> Kept:
    """Return what the pages have kept, from their visits before and after an edit."""
    entries = frozenset[str]().union(*before.found.values(), *before.computed.values())
    computed = frozenset[str]().union(*after.computed.values())
    return Kept(
        pages=len(after.computed),
        warm_pages=sum(not keys for keys in after.computed.values()),
        entries=len(entries),
        valid_entries=len(entries - computed),
    )


@contextmanager
def renamed(airport: Airport) -> Iterator[None]:
    name = airport.name
    airport.name = name + EDITED
    airport.save()
    try:
        yield
    finally:
        airport.name = name
        airport.save()


def visit_all(site: Site, paths: Iterable[str]) -> Visits:
    visits = Visits({}, {})
    for path in paths:
        found: set[str] = set()
        computed: set[str] = set()
        with noting_found(found), noting_computed(computed):
            site.visit(path)
        visits.found[path], visits.computed[path] = frozenset(found), frozenset(computed)
    return visits


@contextmanager
def noting_computed(keys: set[str]) -> Iterator[None]:
    def note(key: str, **kwargs: object) -> None:
        keys.add(key)

    entry_computed.connect(note)
    try:
        yield
    finally:
        entry_computed.disconnect(note)


@contextmanager
def noting_found(keys: set[str]) -> Iterator[None]:
    """Note the keys that are found in the cache. All reads use `get` or `get_many`."""
    cache = caches[CACHE_ALIAS]
    get, get_many = cache.get, cache.get_many

    def note_one(key: str, *args: Any, **kwargs: Any) -> Any:
        value = get(key, *args, **kwargs)
        if value is not None:
            keys.add(key)
        return value

    def note_many(wanted: Iterable[str], *args: Any, **kwargs: Any) -> Any:
        found = get_many(wanted, *args, **kwargs)
        keys.update(found)
        return found

    with ExitStack() as stack:
        stack.enter_context(patch.object(cache, "get", note_one))
        stack.enter_context(patch.object(cache, "get_many", note_many))
        yield


def sentence(kind: str, airport: Airport, kept: Kept) -> str:
    return (
        f"After editing the name of {kind} ({airport.icao}), {kept.warm_pages:,} of "
        f"{kept.pages:,} warmed pages ({percent(kept.warm_pages, kept.pages)}) came from the cache "
        f"as they were, and {kept.valid_entries:,} of their {kept.entries:,} entries "
        f"({percent(kept.valid_entries, kept.entries)}) were still valid."
    )


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "none"
