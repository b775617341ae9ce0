"""Know who observes the requests in the current context."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from threading import Lock
from typing import Any, NamedTuple, Protocol

from cachelayers.invalidation.units import current_unit


class Observer(Protocol):
    """Gets to know what is read."""

    def note_value(self, request: Any, variant: str) -> None:
        """Note a public value: it selects the variant of what is made."""

    def note_private(self, what: str) -> None:
        """Note a value that is for one response only."""

    def note_user(self, user: Any) -> None:
        """Note that the user was read."""

    def note_written(self, request: Any, name: str) -> None:
        """Note that an attribute was set: what is read of it from now on is no news."""

    def at_the_end(self, clean_up: Callable[[], None]) -> None:
        """Call something when the render ends."""

    def has_lazy_object(self, value: Any) -> bool:
        """Tell whether it notices the first use of a lazy object by itself."""


class Nobody:
    """The state of a context in which nothing is to be noted, though there is an observer."""


_observer: ContextVar[Observer | Nobody | None] = ContextVar("cachelayers_observer", default=None)
NOBODY = Nobody()
SILENCE = nullcontext()


@contextmanager
def observing(observer: Observer | Nobody) -> Iterator[None]:
    """Report to an observer what is read in this context."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def current_observer() -> Observer | None:
    """Return the observer of this context."""
    found = _observer.get()
    return None if isinstance(found, Nobody) else found


class Swap(NamedTuple):
    """An object whose class was swapped, with those that observe it."""

    target: Any  # held, for ids are given again
    original: type
    owner: Any  # the request that it belongs to
    observers: list[Observer]


_swaps: dict[int, Swap] = {}
_lock = Lock()


def swap_class(target: Any, watched: type, owner: Any, observer: Observer) -> bool:
    """Have an object observed; tell whether that is possible."""
    with _lock:
        swap = _swaps.get(id(target))
        if swap is None:
            original = type(target)
            try:
                target.__class__ = watched
            except TypeError:
                return False
            swap = _swaps[id(target)] = Swap(target, original, owner, [])
        swap.observers.append(observer)
        return True


def swap_back(target: Any, observer: Observer) -> None:
    """End what swap_class() began; another render may go on to observe the object."""
    with _lock:
        swap = _swaps[id(target)]
        swap.observers.remove(observer)
        if not swap.observers:
            del _swaps[id(target)]
            target.__class__ = swap.original


def unobserved() -> AbstractContextManager[None]:
    """Return a context manager within which nothing is reported."""
    return SILENCE if is_silent() else observing(NOBODY)


def is_silent() -> bool:
    """Tell whether nothing is observed anywhere, as usually on a hit."""
    return not _swaps and _observer.get() is None


def is_observed(target: Any, observer: Observer | None = None) -> bool:
    """Tell whether a class was swapped, by a certain observer or at all."""
    swap = _swaps.get(id(target))
    return swap is not None and (observer is None or observer in swap.observers)


def owner_of(target: Any) -> Any:
    """Return the request that a swapped object belongs to, or None."""
    swap = _swaps.get(id(target))
    return None if swap is None else swap.owner


def observer_of(target: Any) -> Observer | None:
    """Return who is to know that an object is read here.

    A thread that was started without the context cannot be told from one that belongs to the
    render. It counts for the first one that observes the object.
    """
    observer = _observer.get()
    if observer is None:
        swap = _swaps.get(id(target))
        if swap is None or current_unit() is not None:
            return None
        return next(iter(swap.observers), None)
    return None if isinstance(observer, Nobody) else observer
