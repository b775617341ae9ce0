"""The small site's warmers, found like those of any app."""

import time
from collections.abc import Callable, Iterable
from functools import partial

from django.core.cache import cache

from cachelayers.warming import Target, warmer


@warmer("front page", every=60)
def front_page() -> Iterable[str]:
    yield "/"


@warmer("numbered pages", every=3600)
def numbered_pages() -> Iterable[str]:
    return [f"/page/{number}/" for number in (1, 2, 3)]


@warmer("squares")
def squares() -> Iterable[Target]:
    for number in range(10):
        yield Target(key=f"square:{number}", compute=partial(pow, number, 2), timeout=600)


@warmer("slow squares")
def slow_squares() -> Iterable[Target]:
    for number in range(1000):
        yield Target(key=f"square:{number}", compute=partial(take_time, number))


@warmer("one that hangs")
def one_that_hangs() -> Iterable[Callable[[], None]]:
    yield partial(cache.set, "before", "done")
    yield hang


def take_time(number: int) -> int:
    time.sleep(0.05)
    return number**2


def hang() -> None:
    # Not one long sleep: Python may miss a signal that arrives just before the sleep.
    while True:
        time.sleep(0.02)
