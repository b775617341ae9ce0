"""Collect what is to be warmed, each page once. Called by the run; renders sitemaps only.

Everything is collected before anything is warmed: the time left can be told, and a warmer's
query is not advanced by another thread than the one that opened its connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

from cachelayers.hashing.listing import list_static_files
from cachelayers.warming.addresses import Address
from cachelayers.warming.items import (
    CallItem,
    Item,
    PageItem,
    StaticItem,
    TargetItem,
    call_of_cached,
    describe_callable,
    recall_item,
)
from cachelayers.warming.limits import time_limit
from cachelayers.warming.outcomes import Outcome, TookTooLong, WarmingError, failure
from cachelayers.warming.registry import Warmer
from cachelayers.warming.sitemaps import read_sitemap
from cachelayers.warming.targets import RecallTarget, Target
from cachelayers.warming.url_files import read_url_lines
from cachelayers.warming.variants import PLAIN, Variant
from cachelayers.warming.visits import Visitor

MOST_THINGS = 1_000_000  # of one warmer; one that never stops would fill the memory


class Plan:
    """The items to warm, and the failures of what could not even be planned."""

    def __init__(
        self,
        site: Visitor,
        *,
        variants: Sequence[Variant] = (PLAIN,),
        seconds_each: float | None = None,
    ) -> None:
        """``seconds_each``: how long a warmer or sitemap may take to say what there is."""
        self.items: list[Item] = []
        self.failures: list[Outcome] = []
        self._site = site
        self._variants = variants
        self._seconds_each = seconds_each
        self._planned: set[Address] = set()

    def add_warmer(self, warmer: Warmer) -> None:
        """Run a warmer and add what it yields; what it yielded before it raised stays."""
        origin = f"warmer {warmer.name!r}"
        try:
            with time_limit(self._seconds_each):
                for number, thing in enumerate(_yielded_by(warmer)):
                    if number == MOST_THINGS:
                        raise WarmingError(f"yields more than {number:,}; the rest is left out")
                    self._add_thing(thing, origin=origin, place=f"{warmer.name}#{number}")
        # A warmer is the site's own code and may raise anything; all of it is reported.
        except (Exception, TookTooLong) as error:  # noqa: BLE001
            self.failures.append(failure(origin, error))

    def add_sitemap(self, url: str) -> None:
        """Add every page that a sitemap of the site lists."""
        try:
            with time_limit(self._seconds_each):
                for found in read_sitemap(self._site, url):
                    if isinstance(found, Outcome):
                        self.failures.append(found)
                    else:
                        self._add_url(found, label=found)
        except TookTooLong as error:
            self.failures.append(failure(f"sitemap {url}", error))

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

    def _add_thing(self, thing: object, *, origin: str, place: str) -> None:
        if isinstance(thing, str):
            self._add_url(thing, label=thing)
        elif isinstance(thing, Target):
            self.items.append(TargetItem(target=thing))
        elif isinstance(thing, RecallTarget):
            self.items.append(recall_item(thing))
        elif callable(thing):
            self._add_callable(thing, place=place)
        else:
            self.failures.append(failure(origin, WarmingError(_describe_nonsense(thing))))

    def _add_callable(self, thing: Callable[[], object], *, place: str) -> None:
        label = describe_callable(thing)
        try:
            item: Item | None = call_of_cached(thing)
        # Arguments that have no key or do not fit, or a key= that raises: this call's fault alone.
        except Exception as error:  # noqa: BLE001
            self.failures.append(failure(label, error))
            return
        self.items.append(item or CallItem(function=thing, place=place))

    def _add_url(self, url: str, *, label: str) -> None:
        try:
            address = self._site.locate(url)
        except WarmingError as error:
            self.failures.append(failure(label, error))
            return
        if address not in self._planned:
            self._planned.add(address)
            self.items += [
                PageItem(url=url, address=address, site=self._site, variant=variant)
                for variant in self._variants
            ]


def _yielded_by(warmer: Warmer) -> Iterator[object]:
    result: object = warmer.function()
    # One thing, not a list of one: a string would be taken apart into its letters.
    if isinstance(result, (str, Target, RecallTarget)) or callable(result):
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
