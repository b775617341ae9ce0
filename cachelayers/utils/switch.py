"""Whether recall(), @cached and fragments use their caches: the setting ENABLED, and disabled().

`lookup`, `fragments` and `warm_cache` ask. The plain methods of the caches, such as get(), work all
the same.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from inspect import isasyncgenfunction, isgeneratorfunction
from types import TracebackType
from typing import Any, TypeVar, cast

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.core.signals import setting_changed

Function = TypeVar("Function", bound=Callable[..., Any])

BY_SETTING = object()
# What disables caching now: blocks of any thread or task, and the setting. It is almost always
# empty, so hits check that first.
switches: set[object] = set()
_blocks: ContextVar[tuple[object, ...]] = ContextVar("cachelayers_disabled_blocks", default=())


def is_disabled() -> bool:
    """Return whether caching is disabled here. Frequent callers check ``switches`` first."""
    if not switches:
        return False
    # A thread may have a copy of the context of a block that has ended.
    return BY_SETTING in switches or not switches.isdisjoint(_blocks.get())


class Disabling:
    """What disabled() returns: a context manager and decorator. One may be used several times."""

    def __enter__(self) -> None:
        block = object()
        switches.add(block)
        _blocks.set((*_blocks.get(), block))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        *outer, block = _blocks.get()
        _blocks.set(tuple(outer))
        switches.discard(block)

    def __call__(self, function: Function) -> Function:
        return cast(Function, decorator_for(function)(function))


def decorator_for(function: Callable[..., Any]) -> Callable[[Any], Callable[..., Any]]:
    """Return the decorator that disables caching in the body of a function of this kind."""
    if isgeneratorfunction(function):
        return in_generator
    if isasyncgenfunction(function):
        return in_async_generator
    return in_coroutine if iscoroutinefunction(function) else in_call


def in_call(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with disabled():
            return function(*args, **kwargs)

    return call


def in_coroutine(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        with disabled():
            return await function(*args, **kwargs)

    return call


def in_generator(function: Callable[..., Any]) -> Callable[..., Any]:
    """Each step of the generator is a block of its own: between them, its caller's code runs."""

    @wraps(function)
    def generate(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = function(*args, **kwargs)
        resume, argument = generator.send, None
        while True:
            with disabled():
                try:
                    value = resume(argument)
                except StopIteration as end:
                    return end.value
            try:
                resume, argument = generator.send, (yield value)
            except GeneratorExit:
                with disabled():
                    generator.close()
                raise
            except BaseException as error:  # noqa: BLE001 - the body may handle it
                resume, argument = generator.throw, error

    return generate


def in_async_generator(function: Callable[..., Any]) -> Callable[..., Any]:
    """Do the same as in_generator()."""

    @wraps(function)
    async def generate(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator = function(*args, **kwargs)
        resume, argument = generator.asend, None
        while True:
            with disabled():
                try:
                    value = await resume(argument)
                except StopAsyncIteration:
                    return
            try:
                resume, argument = generator.asend, (yield value)
            except GeneratorExit:
                with disabled():
                    await generator.aclose()
                raise
            except BaseException as error:  # noqa: BLE001 - the body may handle it
                resume, argument = generator.athrow, error

    return generate


def disabled() -> Disabling:
    """Compute everything in a block: recall(), @cached and fragments neither look up nor store.

    Use ``with disabled():`` in sync and async code, or ``@disabled()`` on a function of any kind:
    on a generator function, it holds for the generator's body. Invalidations are recorded all the
    same. It holds for this thread or task, and for those that it starts with its context.
    """
    return Disabling()


@contextmanager
def enabled_despite_setting() -> Iterator[None]:
    """Ignore the setting ENABLED in the block, in all threads."""
    is_off = BY_SETTING in switches
    switches.discard(BY_SETTING)
    try:
        yield
    finally:
        if is_off:
            switches.add(BY_SETTING)


def follow_setting(*, setting: str = "CACHELAYERS", **kwargs: Any) -> None:
    """Receive setting_changed, which tests send; also called once when the app is ready."""
    if setting == "CACHELAYERS":
        configured = getattr(settings, "CACHELAYERS", {})
        is_enabled = not isinstance(configured, Mapping) or configured.get("ENABLED", True)
        (switches.discard if is_enabled else switches.add)(BY_SETTING)


setting_changed.connect(follow_setting, dispatch_uid="cachelayers.utils.follow_setting")
