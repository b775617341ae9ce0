"""What stands in place of a function whose values are kept, and of its bound forms."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import update_wrapper
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from cachelayers.decorators.keeping import Arguments, Keeping
from cachelayers.entries.spelling import find_by_name

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")

# By these inspect takes an object for a function, and sees whether it is an `async def`.
FUNCTION_ATTRIBUTES = ("__code__", "__defaults__", "__kwdefaults__")


class Handles(Generic[P, R]):
    """What can be done with a cached function beside calling it; each takes a call's arguments."""

    _keeping: Keeping

    def key(self, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key of the call's entry."""
        return self._keeping.key(self._whole(args), kwargs)

    def invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Make the call's entry invalid, in the caller's transaction."""
        self._keeping.invalidate(self._whole(args), kwargs)

    async def ainvalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Do as invalidate() does, in async code."""
        await self._keeping.ainvalidate(self._whole(args), kwargs)

    def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute and store the call's value, whatever the cache holds, and return it.

        Of an async function: return an awaitable that does so.
        """
        value: R = self._keeping.refresh(self._whole(args), kwargs)
        return value

    async def arefresh(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Do as refresh() does, in async code; a plain function is called in a thread."""
        return await self._keeping.arefresh(self._whole(args), kwargs)

    def warm(self, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Compute and store the call's value ahead of its readers; tell whether this caller did.

        Elsewhere than with refresh(), only one process computes at a time, and readers wait for it.
        """
        return self._keeping.warm(self._whole(args), kwargs)

    def is_warm(self, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Tell whether the cache holds a fresh value of the call."""
        return self._keeping.is_warm(self._whole(args), kwargs)

    def uncached(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself; the cache is neither read nor written."""
        value: R = self._keeping.function(*self._whole(args), **kwargs)
        return value

    def _whole(self, arguments: Arguments) -> Arguments:
        """Return what the function gets."""
        raise TypeError(f"{type(self).__name__} does not say what its function gets")


class CachedFunction(Handles[P, R]):
    """A function whose values are kept."""

    if TYPE_CHECKING:
        __name__: str
        __qualname__: str
        __wrapped__: Callable[P, R]

    def __init__(self, keeping: Keeping) -> None:
        """Take the function's place, under its name."""
        function = keeping.function
        update_wrapper(self, function)
        for name in FUNCTION_ATTRIBUTES:
            if hasattr(function, name):
                setattr(self, name, getattr(function, name))
        self._keeping = keeping

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the call's value, from the cache or computed."""
        value: R = self._keeping.recall(args, kwargs)
        return value

    @overload
    def __get__(self, instance: None, owner: type) -> CachedFunction[P, R]: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[Any, Q], R], instance: object, owner: type | None = None
    ) -> CachedMethod[Q, R]: ...
    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind, as functions do."""
        return self if instance is None else CachedMethod(self, instance)

    def __reduce__(self) -> str:
        """Pickle and copy by name, as functions do."""
        return self.__qualname__

    def __repr__(self) -> str:
        return f"<cached {self._keeping.keys.where}>"

    def _whole(self, arguments: Arguments) -> Arguments:
        if self._is_in_a_classmethod():
            raise TypeError(
                f"{self._keeping.keys.where}: @classmethod stands above @cached, so this cannot"
                " know the class. Put @cached above @classmethod."
            )
        return arguments

    def _is_in_a_classmethod(self) -> bool:
        # Python 3.13 and later: a classmethod binds what is in it without asking its __get__. A
        # call gets its class there, but invalidate() and the like do not.
        owner, _, name = self.__qualname__.rpartition(".")
        attributes = getattr(find_by_name(self.__module__, owner), "__dict__", {})
        outer = attributes.get(name)
        return isinstance(outer, classmethod) and outer.__func__ is self


class CachedClassMethod(CachedFunction[P, R]):
    """A class method whose values are kept, for each class its own."""

    def __get__(self, instance: object, owner: type | None = None) -> CachedMethod[P, R]:  # type: ignore[override] # its P is without the class
        """Bind to the class."""
        return CachedMethod(self, type(instance) if owner is None else owner)


class CachedStaticMethod(CachedFunction[P, R]):
    """A static method whose values are kept."""

    def __get__(self, instance: object, owner: type | None = None) -> CachedStaticMethod[P, R]:  # type: ignore[override] # never bound
        """Return itself."""
        return self


class CachedMethod(Handles[P, R]):
    """A cached function bound to the object, or class, that is its first argument."""

    if TYPE_CHECKING:
        __name__: str
        __qualname__: str

    def __init__(self, function: CachedFunction[..., R], instance: object) -> None:
        """Bind; the arguments are those of types.MethodType, which weakref.WeakMethod expects."""
        self._keeping = function._keeping
        self.__func__ = function
        self.__self__ = instance
        # Set here, because the class has both too and __getattr__ would not be asked.
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the call's value, from the cache or computed."""
        value: R = self._keeping.recall((self.__self__, *args), kwargs)
        return value

    @property
    def __signature__(self) -> inspect.Signature:
        """Return the function's signature without the first parameter."""
        return inspect.signature(MethodType(self._keeping.function, self.__self__))

    if not TYPE_CHECKING:  # a type checker is to know its attributes

        def __getattr__(self, name):
            """Return the function's own attribute, as bound methods do."""
            return getattr(self.__func__, name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CachedMethod):
            return NotImplemented
        return self.__self__ is other.__self__ and self.__func__ is other.__func__

    def __hash__(self) -> int:
        return hash((id(self.__self__), self.__func__))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as bound methods do."""
        return getattr, (self.__self__, self.__func__.__name__)

    def __repr__(self) -> str:
        return f"<cached {self._keeping.keys.where} of {self.__self__!r}>"

    def _whole(self, arguments: Arguments) -> Arguments:
        return (self.__self__, *arguments)
