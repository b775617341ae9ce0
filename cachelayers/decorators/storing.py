"""Compute the key of a cached function's calls, and recall their values.

`functions` calls it; recall() stores the values.
"""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import suppress
from functools import WRAPPER_ASSIGNMENTS, partial
from types import FunctionType
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async

from cachelayers.canonical import (
    STATIC_C_TYPE,
    ArgumentKeys,
    DraftArgument,
    Unstable,
    canonical_form,
    find_by_name,
    path_of,
)
from cachelayers.conf import package_settings
from cachelayers.invalidation import (
    PLAIN_TYPES,
    add_all_dependencies,
    ainvalidate,
    current_capture,
    function_tag,
    invalidate,
    listening_captures,
    refuse_draft,
    remember_tags_of_function,
)
from cachelayers.lookup import (
    add_rows_of_argument,
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

INNER = ("__wrapped__", "__func__", "fget", "func")  # where decorators keep the wrapped function
NO_VALUES = {*WRAPPER_ASSIGNMENTS, "__wrapped__"}
MOST_WRAPPERS = 100


def is_found_by_name(storage: Any, path: str) -> bool:
    """Return whether the function's name leads to it, directly or through decorators."""
    module, _, qualname = path.partition(":")
    found = find_by_name(module, qualname)
    for _ in range(MOST_WRAPPERS):
        if found is None or getattr(found, "_storage", None) is storage:
            break
        found = next((one for one in (getattr(found, name, None) for name in INNER) if one), None)
    return found is not None


def canonical_closures(where: str, function: Any) -> str:
    """Return the canonical form of the values that a function's decorators use.

    Raises TypeError if a value has none.
    """
    layers = list(wrapped_functions(function))
    known = {id(layer) for layer in layers}
    forms = []
    for layer in layers:
        for name, value in closure_of(layer):
            if id(value) in known:
                continue
            try:
                forms.append(f"{name}={canonical_one(value)}")
            except (Unstable, RecursionError) as error:
                raise TypeError(
                    f"@cached {where}: its decorator uses {name}, which makes no key: {error}."
                    " Define the function at the top of a module, or give cached(key=...) with a"
                    " text that tells it from the others."
                ) from None
    return "".join(forms)


def wrapped_functions(function: Any) -> Iterator[Any]:
    """Yield a function, the function that it wraps, and so on."""
    for _ in range(MOST_WRAPPERS):
        yield function
        function = getattr(function, "__wrapped__", None)
        if function is None:
            break


def position_among_namesakes(function: Any) -> str:
    """Return the first line of a function if its name leads to another function, or "".

    Registered handlers, for example, may all have the same name.
    """
    code = code_of(function)
    found = code_of(find_by_name(function.__module__, function.__qualname__))
    return "" if code is None or code is found else f"line {code.co_firstlineno};"


def code_of(function: Any) -> Any:
    """Return the code of the innermost function, if it has some."""
    *_, innermost = wrapped_functions(function)
    return getattr(innermost, "__code__", None)


def closure_of(layer: Any) -> Iterator[tuple[str, Any]]:
    """Yield the values that a function or callable object uses beside its arguments."""
    if isinstance(layer, FunctionType):
        for name, cell in zip(layer.__code__.co_freevars, layer.__closure__ or (), strict=True):
            # The cell of a method that uses super() adds nothing: the class is in the name.
            if name != "__class__":
                with suppress(ValueError):  # an empty cell
                    yield name, cell.cell_contents
        yield from added_by(layer)
    elif isinstance(layer, partial):
        yield "arguments", (layer.args, layer.keywords)
    elif not type(layer).__flags__ & STATIC_C_TYPE:  # not a builtin, nor the result of lru_cache
        own = {name: value for part in parts_of(layer) for name, value in part.items()}
        yield from ((name, own[name]) for name in sorted(own.keys() - NO_VALUES))


def added_by(wrapper: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the defaults and attributes that a wrapper does not copy from the wrapped function."""
    wrapped = getattr(wrapper, "__wrapped__", None)
    if wrapped is None:
        return  # its defaults are in each call's key, its attributes in the code
    for index, value in enumerate(wrapper.__defaults__ or ()):
        yield f"default {index}", value
    yield from sorted((wrapper.__kwdefaults__ or {}).items())
    taken = getattr(wrapped, "__dict__", {})
    for name, value in sorted(vars(wrapper).items()):
        if name not in NO_VALUES and taken.get(name, NO_VALUES) is not value:
            yield name, value


def parts_of(instance: Any) -> Iterator[dict[str, Any]]:
    """Yield an object's attributes, and the contents of its slots."""
    state = object.__getstate__(instance)
    for part in state if isinstance(state, tuple) else (state,):
        if isinstance(part, dict):
            yield part


def canonical_one(value: Any) -> str:
    """Return the canonical form of a value. A function is identified by its name."""
    if isinstance(value, FunctionType):
        if find_by_name(value.__module__, value.__qualname__) is value:
            return f"g{canonical_form(path_of(value))}"
        raise Unstable("the function cannot be found under its name")
    return canonical_form(value)


Tags = Iterable[str] | Callable[..., Iterable[str]]
Arguments = tuple[Any, ...]
Keywords = dict[str, Any]


class Storage:
    """The connection between a function and recall()."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        tags: Tags,
        key: Callable[..., str] | None,
        **options: Any,  # recall()'s others
    ) -> None:
        self.function = function
        self.keys = ArgumentKeys(path_of(function), inspect.signature(function))
        self._is_distinguished = False
        self.is_async = iscoroutinefunction(function)
        self.options = options
        self._make_text = key
        self._make_tags = tags if callable(tags) else None
        self.tag = function_tag(self.keys.where)
        self._tags = (self.tag,) if callable(tags) else (self.tag, *tags)
        remember_tags_of_function(self._tags)

    @property
    def alias(self) -> str:
        """Return the alias of CACHES."""
        using: str | None = self.options["using"]
        return package_settings().ALIAS if using is None else using

    def key(self, arguments: Arguments, keywords: Keywords) -> str:
        """Return the key of the entry of a call."""
        if not self._is_distinguished:
            self._distinguish_namesakes()
        if self._make_text is None:
            return self.keys.key(arguments, keywords)
        return self.keys.key_of_text(self._call_option(self._make_text, arguments, keywords))

    def _distinguish_namesakes(self) -> None:
        """If several functions have this name, add to the key what distinguishes them.

        This is done at the first call: before, the module may not contain the function yet.
        """
        path = path_of(self.function)
        if not is_found_by_name(self, path):
            position = position_among_namesakes(self.function)
            closures = "" if self._make_text else canonical_closures(self.keys.where, self.function)
            if closures or position:
                signature = inspect.signature(self.function)
                self.keys = ArgumentKeys(path, signature, position=position, closures=closures)
        self._is_distinguished = True

    def recall(self, arguments: Arguments, keywords: Keywords) -> Any:
        """Get the value of a call, or compute and store it; an awaitable of it if it is async."""
        try:
            key = self.key(arguments, keywords)
        except DraftArgument:
            refuse_draft(listening_captures())
            return self._call(arguments, keywords)
        return self._call_with_key(arecall if self.is_async else recall, key, arguments, keywords)

    def refresh(self, arguments: Arguments, keywords: Keywords) -> Any:
        """Compute and store the value of a call. For an async function, return an awaitable."""
        key = self.key(arguments, keywords)
        return self._call_with_key(arefresh if self.is_async else refresh, key, arguments, keywords)

    def arefresh(self, arguments: Arguments, keywords: Keywords) -> Awaitable[Any]:
        """Return an awaitable that computes and stores. A plain function runs in a thread."""
        adapt = None if self.is_async else sync_to_async
        key = self.key(arguments, keywords)
        awaitable: Awaitable[Any] = self._call_with_key(arefresh, key, arguments, keywords, adapt)
        return awaitable

    def warm(self, arguments: Arguments, keywords: Keywords) -> bool:
        """Compute and store the value of a call before readers need it."""
        adapt = as_async if self.is_async else None
        return bool(
            self._call_with_key(warm, self.key(arguments, keywords), arguments, keywords, adapt)
        )

    def is_warm(self, arguments: Arguments, keywords: Keywords) -> bool:
        """Return whether the cache holds a fresh value of a call."""
        key = self.key(arguments, keywords)
        return bool(self._call_with_key(is_warm, key, arguments, keywords))

    def invalidate(self, arguments: Arguments, keywords: Keywords) -> None:
        """Make the entry of a call invalid, in the caller's transaction."""
        invalidate_key(self.key(arguments, keywords), using=self.options["using"])

    def ainvalidate(self, arguments: Arguments, keywords: Keywords) -> Awaitable[None]:
        """Return an awaitable that invalidates."""
        return ainvalidate_key(self.key(arguments, keywords), using=self.options["using"])

    def invalidate_all(self) -> None:
        """Make the entries of all calls invalid, in the caller's transaction."""
        invalidate(self.tag)

    async def ainvalidate_all(self) -> None:
        """Do invalidate_all() in async code."""
        await ainvalidate(self.tag)

    def _call_with_key(
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
        return get(key, compute, tags=self.tags_of(arguments, keywords), **self.options)

    def tags_of(self, arguments: Arguments, keywords: Keywords) -> Any:
        """Return the tags of the entry of a call."""
        if self._make_tags is None:
            return self._tags
        tags = self._call_option(self._make_tags, arguments, keywords)
        is_readable = isinstance(tags, Iterable) and not isinstance(tags, str)
        return (*self._tags, *tags) if is_readable else tags  # recall() refuses others

    def _compute(self, key: str, arguments: Arguments, keywords: Keywords) -> Any:
        # A refresh runs after the call: the caller may have changed an argument meanwhile.
        if self.key(arguments, keywords) != key:
            raise RuntimeError(
                f"{self.keys.where}(): an argument was changed before its value was computed."
                " Pass it a copy."
            )
        objects = [one for one in (*arguments, *keywords.values()) if type(one) not in PLAIN_TYPES]
        if self.is_async and objects:
            return self._compute_async(objects, arguments, keywords)
        depend_on_arguments(objects)
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
        self, objects: Sequence[object], arguments: Arguments, keywords: Keywords
    ) -> Any:
        await sync_to_async(depend_on_arguments)(objects)  # it may read the log
        return await self.function(*arguments, **keywords)

    def _call_option(
        self, option: Callable[..., Any], arguments: Arguments, keywords: Keywords
    ) -> Any:
        """Call an option's function with the arguments of the cached function."""
        bound = self.keys.bind(arguments, keywords)
        return option(*bound.args, **bound.kwargs)


def depend_on_arguments(objects: Sequence[object]) -> None:
    """Make the value that is being computed depend on the rows in its function's arguments.

    If an argument contains more than rows and plain values, it depends on all reads so far.
    """
    capture = current_capture()
    if capture is None:
        return
    if not capture.collects:
        if any(map(holds_draft, objects)):
            refuse_draft([capture])
        return
    are_clear = [add_rows_of_argument(capture, one) for one in objects]
    if not all(are_clear):
        add_all_dependencies(capture)


def as_async(compute: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
    """Return an async function; a partial of one is not recognised as async."""

    async def compute_async() -> Any:
        return await compute()

    return compute_async
