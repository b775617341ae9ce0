"""Every fault before every store: a proxy that disturbs a server's answers, and the guarantees.

The guarantees: no call raises, all calls of one outage together wait a bounded time, and a value
that a failed write should have replaced is not served again.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.cache.backends.base import BaseCache

TRICKLE_SECONDS = 0.01  # between two bytes
CHUNK = 65_536


class Proxy:
    """A TCP proxy before a server; ``mode`` is its effect on the bytes."""

    MODES = ("killed", "refused", "frozen", "trickling", "rubbish")

    def __init__(self, port: int) -> None:
        """``port``: of the server, on this host."""
        self.mode = "well"
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._is_closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def trouble(self, mode: str) -> Iterator[None]:
        """Set the mode; ``killed`` and ``refused`` close the open connections."""
        self.mode = mode
        if mode in {"killed", "refused"}:
            self._end_all()
        try:
            yield
        finally:
            self.mode = "well"
            self._end_all()  # else delayed bytes would arrive later

    def close(self) -> None:
        self._is_closed = True
        self._listener.close()
        self._end_all()

    def _end_all(self) -> None:
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.mode in {"killed", "refused"}:
                client.close()
                continue
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._server_port)) as server:
            self._open |= {client, server}
            try:
                self._pass_on(client, server)
            except OSError:
                pass
            finally:
                self._open -= {client, server}

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        while True:
            for one in select.select([client, server], [], [], 0.2)[0]:
                if not (data := one.recv(CHUNK)):
                    return
                while self.mode == "frozen":
                    time.sleep(0.01)
                    if client.fileno() < 0 or self._is_closed:
                        return
                self._send(other[one], data, is_answer=one is server)

    def _send(self, to: socket.socket, data: bytes, *, is_answer: bool) -> None:
        if not is_answer or self.mode not in {"trickling", "rubbish"}:
            to.sendall(data)
        elif self.mode == "rubbish":
            to.sendall(os.urandom(len(data)))
        else:
            for number in range(len(data)):
                to.sendall(data[number : number + 1])
                if self.mode == "trickling":
                    time.sleep(TRICKLE_SECONDS)


Operation = Callable[[BaseCache], Any]
OPERATIONS: dict[str, Operation] = {
    "get": lambda cache: cache.get("page", "missing"),
    "set": lambda cache: cache.set("page", "new", timeout=None),
    "get again": lambda cache: cache.get("page", "missing"),
    "add": lambda cache: cache.add("added", 1),
    "incr": lambda cache: incremented(cache),  # noqa: PLW0108 - defined below
    "get_many": lambda cache: cache.get_many(["page", "gone", "counter"]),
    "set_many": lambda cache: cache.set_many({"a": 1, "b": 2}),
    "touch": lambda cache: cache.touch("page", None),
    "delete": lambda cache: cache.delete("gone"),
    "has_key": lambda cache: cache.has_key("page"),
}


def incremented(cache: BaseCache) -> int | None:
    try:
        return cache.incr("counter")
    except ValueError:  # there is no such key: as in Django's contract
        return None


def prepare(cache: BaseCache) -> None:
    """Store the older values, and wait until the store has them."""
    deadline = time.monotonic() + 20
    while True:
        cache.set_many({"page": "old", "gone": "old", "counter": 1}, timeout=None)
        if cache.get_many(["page", "gone", "counter"]) == {
            "page": "old",
            "gone": "old",
            "counter": 1,
        }:
            return
        assert time.monotonic() < deadline, "the store takes no values"
        time.sleep(0.05)


def find_breaches(cache: BaseCache, longest_seconds: float) -> list[str]:
    """Run every operation during a fault; return the broken guarantees."""
    breaches = []
    began = time.monotonic()
    for name, operation in OPERATIONS.items():
        try:
            answer = operation(cache)
        except Exception as error:  # noqa: BLE001 - what should not have been
            breaches.append(f"{name} raised {error!r}")
            continue
        if name == "get again" and answer not in {"new", "missing"}:
            breaches.append(f"{name} gave {answer!r}")
    took = time.monotonic() - began
    if took > longest_seconds:
        breaches.append(f"all calls together took {took:.2f} s")
    return breaches


def find_older_values(cache: BaseCache) -> list[str]:
    """Use the store while it recovers; return the values that should have been replaced."""
    deadline = time.monotonic() + 20
    served: set[object] = set()
    while True:
        served |= {cache.get("page"), cache.get("gone"), cache.get_many(["page"]).get("page")}
        cache.set("probe", (now := time.monotonic()))
        if cache.get("probe") == now:
            break
        assert now < deadline, "the store does not come back"
        time.sleep(0.02)
    served |= {cache.get("page"), cache.get("gone")}
    return ["an older value was served"] if "old" in served else []
