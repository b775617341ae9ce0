"""The requests of a run, each read of which is answered by the database and by each contestant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from random import Random
from typing import Any, cast

from django.db import connection

from benchmarks.hit_rate.answers import shown
from benchmarks.hit_rate.contestants import CLASSES, Contestant, HandWritten
from benchmarks.hit_rate.names import CACHALOT, CACHEOPS, HAND_WRITTEN, OURS
from benchmarks.hit_rate.results import Figures
from benchmarks.hit_rate.workload import BEGIN, SEED, Answer, Site


class Run:
    """The requests of a site, and what each contestant made of the reads."""

    def __init__(self, site: Site, contestants: list[str]) -> None:
        self.second = 0  # the site's clock
        self.statements = 0
        self.uncached = uncached_by(contestants)
        self.contestants = {name: self.contestant(name, site) for name in contestants}
        self.unit = unit_of(contestants)
        self.site = site
        # By contestant and kind of query.
        self.figures: dict[str, dict[str, Figures]] = {name: {} for name in contestants}

    def contestant(self, name: str, site: Site) -> Contestant:
        if name == HAND_WRITTEN:
            return HandWritten(site, lambda: self.second)
        return CLASSES[name]()

    def make_requests(self, requests: int, writes: int) -> None:
        """Make the requests. Before ``writes`` of 100 of them, somebody writes."""
        chance = Random(SEED)
        self.site.create_rows(chance)
        for self.second in range(requests):
            if chance.random() * 100 < writes:
                with self.unit():
                    self.site.write(chance, BEGIN + timedelta(seconds=self.second))
            with self.unit():
                self.site.open_page(chance, self.read)

    def read(self, kind: str, about: object, compute: Callable[[], Answer]) -> Answer:
        """Ask the database, then each contestant, and compare."""
        with self.uncached():
            right = compute()
        wanted = shown(right)

        def counted() -> Answer:
            with connection.execute_wrapper(self.count):
                return compute()

        for name, contestant in self.contestants.items():
            before = self.statements
            answer = contestant.read((kind, about), counted, right)
            figures = self.figures[name].setdefault(kind, Figures(reads=0, hits=0, wrong=0))
            figures["reads"] += 1
            figures["hits"] += self.statements == before
            figures["wrong"] += shown(answer) != wanted
        return right

    def count(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        self.statements += 1
        return execute(*arguments)


def unit_of(contestants: list[str]) -> Callable[[], AbstractContextManager[Any]]:
    """Return what a request is within."""
    if OURS in contestants:
        from cachelayers import unit_of_work

        return unit_of_work
    return nullcontext


def uncached_by(contestants: list[str]) -> Callable[[], AbstractContextManager[Any]]:
    """Return what has the ORM ask the database, whatever changes it."""
    if CACHALOT in contestants:
        from cachalot.api import cachalot_disabled

        return cast("Callable[[], AbstractContextManager[Any]]", cachalot_disabled)
    return without_cacheops if CACHEOPS in contestants else nullcontext


@contextmanager
def without_cacheops() -> Iterator[None]:
    from cacheops.conf import settings

    settings.CACHEOPS_ENABLED = False
    yield
    settings.CACHEOPS_ENABLED = True
