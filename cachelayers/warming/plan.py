"""Collect what is to be warmed, each page once. Called by ``warm_cache``; renders sitemaps only.

Everything is collected before anything is warmed: the time left can be told, and a warmer's
query is not advanced by another thread than the one that opened its connection.
"""

from collections.abc import Iterable, Iterator
from typing import cast

from cachelayers.hashing.listing import list_static_files
from cachelayers.warming.addresses import Address, locate
from cachelayers.warming.items import CallItem, Item, PageItem, StaticItem, TargetItem
from cachelayers.warming.outcomes import Outcome, WarmingError, failure
from cachelayers.warming.registry import Warmer
from cachelayers.warming.site import Site
from cachelayers.warming.sitemaps import read_sitemap
from cachelayers.warming.targets import Target
from cachelayers.warming.url_files import read_url_lines


class Plan:
    """The items to warm, and the failures of what could not even be planned."""

    def __init__(self, site: Site) -> None:
        self.items: list[Item] = []
        self.failures: list[Outcome] = []
        self._site = site
        self._planned: set[Address] = set()

    def add_warmer(self, warmer: Warmer) -> None:
        """Run a warmer and add what it yields; what it yielded before it raised stays."""
        try:
            for thing in _yielded_by(warmer):
                self._add_thing(thing, origin=f"warmer {warmer.name!r}")
        # A warmer is the site's own code and may raise anything; all of it is reported.
        except Exception as error:  # noqa: BLE001
            self.failures.append(failure(f"warmer {warmer.name!r}", error))

    def add_sitemap(self, url: str) -> None:
        """Add every page that a sitemap of the site lists."""
        for found in read_sitemap(self._site, url):
            if isinstance(found, Outcome):
                self.failures.append(found)
            else:
                self._add_url(found, label=found)

    def add_static_files(self) -> None:
        """Add every static file of the site."""
        try:
            self.items += [StaticItem(name=name) for name in list_static_files()]
        # Storages raise errors of their libraries, which have no common base.
        except Exception as error:  # noqa: BLE001
            self.failures.append(failure("static files", error))

    def add_url_lines(self, lines: Iterable[str], *, name: str) -> None:
        """Add the URLs of a file, one a line."""
        for number, url in read_url_lines(lines):
            self._add_url(url, label=f"{name} line {number}: {url}")

    def _add_thing(self, thing: object, *, origin: str) -> None:
        if isinstance(thing, str):
            self._add_url(thing, label=thing)
        elif isinstance(thing, Target):
            self.items.append(TargetItem(target=thing))
        elif callable(thing):
            self.items.append(CallItem(function=thing))
        else:
            self.failures.append(failure(origin, WarmingError(_describe_nonsense(thing))))

    def _add_url(self, url: str, *, label: str) -> None:
        try:
            address = locate(url)
        except WarmingError as error:
            self.failures.append(failure(label, error))
            return
        if address not in self._planned:
            self._planned.add(address)
            self.items.append(PageItem(label=url, address=address, site=self._site))


def _yielded_by(warmer: Warmer) -> Iterator[object]:
    result: object = warmer.function()
    # One thing, not a list of one: a string would be taken apart into its letters.
    if isinstance(result, (str, Target)) or callable(result):
        yield result
    elif result is None:
        raise WarmingError("returned None; yield callables, URLs or Targets")
    else:
        yield from cast("Iterable[object]", result)


def _describe_nonsense(thing: object) -> str:
    return (
        f"yielded {thing!r}, of type {type(thing).__name__}; "
        "yield callables, URLs (strings) or Targets"
    )
