"""How the values of one function are named, made and kept. Used by functions; calls lookup."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Sequence
from functools import partial
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async

from cachelayers.decorators.wrappers import place_among_namesakes, spell_held, stands_under_its_name
from cachelayers.entries.arguments import ArgumentKeys, DraftGiven
from cachelayers.entries.spelling import path_of
from cachelayers.invalidation.capture import current_capture, listening_captures
from cachelayers.invalidation.rows import PLAIN, add_all_seen, mistrust_draft
from cachelayers.invalidation.words import note_words_of_function
from cachelayers.lookup import (
    add_given,
    ainvalidate_key,
    arecall,
    arefresh,
    holds_draft,
    invalidate_key,
    is_warm,
    recall,
    refresh,
    warm,
)

Words = Iterable[str] | Callable[..., Iterable[str]]
Arguments = tuple[Any, ...]
Keywords = dict[str, Any]


class Keeping:
    """The link between a function and recall()."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        tags: Words,
        key: Callable[..., str] | None,
        **options: Any,  # timeout, stale, using and capture, as recall() takes them
    ) -> None:
        """Prepare what is the same for every call."""
        self.function = function
        self.keys = ArgumentKeys(path_of(function), inspect.signature(function))
        self._is_told_apart = False
        self.is_async = iscoroutinefunction(function)
        self._options = options
        self._make_text = key
        self._make_words = tags if callable(tags) else None
        self._words = () if callable(tags) else tuple(tags)
        note_words_of_function(self._words)

    def key(self, arguments: Arguments, keywords: Keywords) -> str:
        """Return the key of the entry of a call."""
        if not self._is_told_apart:
            self._tell_apart()
        if self._make_text is None:
            return self.keys.key(arguments, keywords)
        return self.keys.key_of_text(self._ask(self._make_text, arguments, keywords))

    def _tell_apart(self) -> None:
        """Have the key hold what decorators were given for one of several functions of a name.

        Asked for at the first call: what a module defines does not stand in it before.
        """
        path = path_of(self.function)
        if not stands_under_its_name(self, path):
            place = place_among_namesakes(self.function)
            held = "" if self._make_text else spell_held(self.keys.where, self.function)
            if held or place:
                signature = inspect.signature(self.function)
                self.keys = ArgumentKeys(path, signature, place=place, held=held)
        self._is_told_apart = True

    def recall(self, arguments: Arguments, keywords: Keywords) -> Any:
        """Get the value of a call, or compute and store it; an awaitable of it if that is async."""
        try:
            key = self.key(arguments, keywords)
        except DraftGiven:
            mistrust_draft(listening_captures())
            return self._call(arguments, keywords)
        return self._obtain(arecall if self.is_async else recall, key, arguments, keywords)

    def refresh(self, arguments: Arguments, keywords: Keywords) -> Any:
        """Compute and store the value of a call; an awaitable of it if that is async."""
        key = self.key(arguments, keywords)
        return self._obtain(arefresh if self.is_async else refresh, key, arguments, keywords)

    def arefresh(self, arguments: Arguments, keywords: Keywords) -> Awaitable[Any]:
        """Return an awaitable that computes and stores; a plain function runs in a thread."""
        adapt = None if self.is_async else sync_to_async
        key = self.key(arguments, keywords)
        awaitable: Awaitable[Any] = self._obtain(arefresh, key, arguments, keywords, adapt)
        return awaitable

    def warm(self, arguments: Arguments, keywords: Keywords) -> bool:
        """Compute and store the value of a call ahead of its readers."""
        adapt = as_async if self.is_async else None
        return bool(self._obtain(warm, self.key(arguments, keywords), arguments, keywords, adapt))

    def is_warm(self, arguments: Arguments, keywords: Keywords) -> bool:
        """Tell whether the cache holds a fresh value of a call."""
        key = self.key(arguments, keywords)
        return bool(self._obtain(is_warm, key, arguments, keywords))

    def invalidate(self, arguments: Arguments, keywords: Keywords) -> None:
        """Make the entry of a call invalid, in the caller's transaction."""
        invalidate_key(self.key(arguments, keywords), using=self._options["using"])

    def ainvalidate(self, arguments: Arguments, keywords: Keywords) -> Awaitable[None]:
        """Return an awaitable that invalidates."""
        return ainvalidate_key(self.key(arguments, keywords), using=self._options["using"])

    def _obtain(
        self,
        get: Callable[..., Any],
        key: str,
        arguments: Arguments,
        keywords: Keywords,
        adapt: Callable[[Callable[[], Any]], Callable[[], Any]] | None = None,
    ) -> Any:
        compute: Callable[[], Any] = partial(self._compute, key, arguments, keywords)
        if adapt is not None:
            compute = adapt(compute)
        words = self._words
        if self._make_words is not None:
            words = self._ask(self._make_words, arguments, keywords)
        return get(key, compute, tags=words, **self._options)

    def _compute(self, key: str, arguments: Arguments, keywords: Keywords) -> Any:
        # A refresh comes after the call: its caller may have appended to a list meanwhile.
        if self.key(arguments, keywords) != key:
            raise RuntimeError(
                f"{self.keys.where}(): an argument was changed before its value was computed."
                " Pass it a copy."
            )
        given = [one for one in (*arguments, *keywords.values()) if type(one) not in PLAIN]
        if self.is_async and given:
            return self._compute_async(given, arguments, keywords)
        depend_on(given)
        return self._call(arguments, keywords)

    def _call(self, arguments: Arguments, keywords: Keywords) -> Any:
        value = self.function(*arguments, **keywords)
        if isinstance(value, Generator | AsyncGenerator):
            raise TypeError(
                f"{self.keys.where}() returned a generator, which can be read only once."
                " Return a list."
            )
        return value

    async def _compute_async(
        self, given: Sequence[object], arguments: Arguments, keywords: Keywords
    ) -> Any:
        await sync_to_async(depend_on)(given)  # it may have to read a log, which the loop may not
        return await self.function(*arguments, **keywords)

    def _ask(self, option: Callable[..., Any], arguments: Arguments, keywords: Keywords) -> Any:
        """Call a function that was given as an option with what the cached one would get."""
        bound = self.keys.bind(arguments, keywords)
        return option(*bound.args, **bound.kwargs)


def depend_on(given: Sequence[object]) -> None:
    """Have the value that is being computed depend on what its function was given.

    On the rows in it; where there is more to it than those and values, on all that was read so far.
    """
    capture = current_capture()
    if capture is None:
        return
    if not capture.collects:
        if any(map(holds_draft, given)):
            mistrust_draft([capture])
        return
    are_clear = [add_given(capture, one) for one in given]
    if not all(are_clear):
        add_all_seen(capture)


def as_async(compute: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
    """Return a function that is seen to be async, as a partial of one is not."""

    async def compute_async() -> Any:
        return await compute()

    return compute_async
