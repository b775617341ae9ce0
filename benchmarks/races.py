"""Threads that increment one counter at once: how many increments are counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import Error as DjangoDatabaseError

from benchmarks.environment import TIMEOUT_SECONDS
from benchmarks.machines import close_connections
from benchmarks.peers import BARE, CASHEWS, MEMORY, Peer

THREADS = 8
TURNS = 50
COUNTER = "race"


@dataclass(kw_only=True)
class Race:
    """The count of eight threads on one counter."""

    peer: Peer
    counted: int
    faults: int
    seconds: float

    @property
    def expected(self) -> int:
        """Return the correct count."""
        return THREADS * TURNS


def measure_races(peers: Iterable[Peer]) -> list[Race]:
    """Run the threads on each peer that they can share."""
    return [run_race(peer) for peer in peers if is_shared_by_threads(peer)]


def is_shared_by_threads(peer: Peer) -> bool:
    """Return False for the bare driver, and for cashews' memory: it needs one event loop."""
    return peer.name != BARE and (peer.name, peer.database) != (CASHEWS, MEMORY)


def run_race(peer: Peer) -> Race:
    peer.open().set(COUNTER, 0, TIMEOUT_SECONDS)
    barrier = threading.Barrier(THREADS + 1)
    faults: list[Exception] = []
    threads = [
        threading.Thread(target=increment, args=(peer, barrier, faults)) for _ in range(THREADS)
    ]
    for thread in threads:
        thread.start()

    barrier.wait()
    begin = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin

    counted = peer.open().get(COUNTER)
    return Race(peer=peer, counted=counted, faults=len(faults), seconds=seconds)


def increment(peer: Peer, barrier: threading.Barrier, faults: list[Exception]) -> None:
    cache = peer.open()
    cache.get(COUNTER)  # connects before the start
    barrier.wait()
    for _ in range(TURNS):
        try:
            cache.incr(COUNTER)
        except DjangoDatabaseError as fault:
            faults.append(fault)
    close_connections()
