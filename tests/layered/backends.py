"""A shared cache in a dictionary, which counts its calls and fails on demand."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache


class Server:
    """The server of a WatchedCache."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[bytes, float | None]] = {}
        self.calls: list[str] = []
        self.is_down = False
        self.fails_after = False  # carry out the call, then fail
        self.before: dict[str, Callable[[], None]] = {}  # once, before an operation

    def ask(self, operation: str) -> None:
        self.calls.append(operation)
        if self.is_down and not self.fails_after:
            raise ConnectionError("it is down")
        self.before.pop(operation, lambda: None)()

    def answered(self) -> None:
        if self.is_down:
            raise ConnectionError("it has just gone down")

    def live(self, key: str) -> bytes | None:
        data, expires = self.entries.get(key, (None, 0.0))
        return None if expires is not None and expires <= time.time() else data


servers: dict[str, Server] = {}


def server_of(location: str) -> Server:
    return servers.setdefault(location, Server())


class WatchedCache(BaseCache):
    """A cache with the methods of Django's contract only."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self.server = server_of(location)

    def _expiry(self, timeout: Any) -> float | None:
        seconds = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        return None if seconds is None else time.time() + seconds

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        self.server.ask("get")
        data = self.server.live(self.make_key(key, version))
        return default if data is None else pickle.loads(data)

    def get_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        self.server.ask("get_many")
        found = {key: self.server.live(self.make_key(key, version)) for key in keys}
        return {key: pickle.loads(data) for key, data in found.items() if data is not None}

    def set(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        self.server.ask("set")
        data = pickle.dumps(value)
        self.server.entries[self.make_key(key, version)] = data, self._expiry(timeout)
        self.server.answered()

    def set_many(
        self, data: Mapping[str, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[str]:
        self.server.ask("set_many")
        packed = {key: pickle.dumps(value) for key, value in data.items()}
        for key, one in packed.items():
            self.server.entries[self.make_key(key, version)] = one, self._expiry(timeout)
        self.server.answered()
        return []

    def add(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        self.server.ask("add")
        made = self.make_key(key, version)
        if self.server.live(made) is not None:
            return False
        self.server.entries[made] = pickle.dumps(value), self._expiry(timeout)
        self.server.answered()
        return True

    def delete(self, key: str, version: int | None = None) -> bool:
        self.server.ask("delete")
        found = self.server.entries.pop(self.make_key(key, version), None)
        self.server.answered()
        return found is not None

    def delete_many(self, keys: Iterable[str], version: int | None = None) -> None:
        self.server.ask("delete_many")
        for key in keys:
            self.server.entries.pop(self.make_key(key, version), None)
        self.server.answered()

    def touch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        raise AssertionError("a layer is not touched by a method that is not atomic with its entry")

    def clear(self) -> None:
        raise AssertionError("a layer has entries of others, and is not cleared")


class AsyncWatchedCache(WatchedCache):
    """A cache with async methods of its own."""

    async def aget_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        await asyncio.sleep(0)
        self.server.calls.append("async")
        return self.get_many(keys, version)

    async def aset_many(
        self, data: Mapping[str, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[str]:
        await asyncio.sleep(0)
        self.server.calls.append("async")
        return self.set_many(data, timeout, version)

    async def aadd(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        await asyncio.sleep(0)
        self.server.calls.append("async")
        return self.add(key, value, timeout, version)

    async def adelete(self, key: str, version: int | None = None) -> bool:
        await asyncio.sleep(0)
        self.server.calls.append("async")
        return self.delete(key, version)

    async def adelete_many(self, keys: Iterable[str], version: int | None = None) -> None:
        await asyncio.sleep(0)
        self.server.calls.append("async")
        self.delete_many(keys, version)
