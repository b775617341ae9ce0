"""The async twin of every method of a cache that itself is sync. Used by backends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")


class AsyncTwins(BaseCache):
    """Each twin is its sync method on the thread of the request's other database work.

    Django's own twins of bulk operations and of ``incr`` are loops and a get with a set: many
    round trips, and not atomic. Thread-sensitive, so that they share the caller's connection and
    its transaction.
    """

    def get_shared(self, key: str) -> Any:
        """Return what others may have stored since the last look, or None; not counted."""
        raise LookupError  # each backend has its own

    async def _perform(
        self,
        method: Callable[Parameters, Answer],
        *arguments: Parameters.args,
        **keywords: Parameters.kwargs,
    ) -> Answer:
        """Call a method so that the event loop need not wait for it."""
        return await sync_to_async(method)(*arguments, **keywords)

    async def aadd(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Do what ``add`` does."""
        return await self._perform(self.add, key, value, timeout, version)

    async def aget_shared(self, key: str) -> Any:
        """Do what ``get_shared`` does."""
        return await self._perform(self.get_shared, key)

    async def aget(self, key: str, default: Any = None, version: int | None = None) -> Any:
        """Do what ``get`` does."""
        return await self._perform(self.get, key, default, version)

    async def aset(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        """Do what ``set`` does."""
        await self._perform(self.set, key, value, timeout, version)

    async def atouch(
        self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Do what ``touch`` does."""
        return await self._perform(self.touch, key, timeout, version)

    async def adelete(self, key: str, version: int | None = None) -> bool:
        """Do what ``delete`` does."""
        return await self._perform(self.delete, key, version)

    async def aget_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        """Do what ``get_many`` does."""
        return await self._perform(self.get_many, keys, version)

    async def aset_many(
        self,
        data: dict[str, Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[str]:
        """Do what ``set_many`` does."""
        return await self._perform(self.set_many, data, timeout, version)

    async def adelete_many(self, keys: Iterable[str], version: int | None = None) -> None:
        """Do what ``delete_many`` does."""
        await self._perform(self.delete_many, keys, version)

    async def ahas_key(self, key: str, version: int | None = None) -> bool:
        """Do what ``has_key`` does."""
        return await self._perform(self.has_key, key, version)

    async def aincr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Do what ``incr`` does, as one operation."""
        return await self._perform(self.incr, key, delta, version)

    async def adecr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Do what ``decr`` does, as one operation."""
        return await self._perform(self.decr, key, delta, version)

    async def aincr_version(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Do what ``incr_version`` does."""
        return await self._perform(self.incr_version, key, delta, version)

    async def adecr_version(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Do what ``decr_version`` does."""
        return await self._perform(self.decr_version, key, delta, version)

    async def aclear(self) -> None:
        """Do what ``clear`` does."""
        await self._perform(self.clear)

    async def aclose(self, **kwargs: Any) -> None:
        """Do what ``close`` does."""
        await self._perform(self.close, **kwargs)
