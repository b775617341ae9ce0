"""A signal handler may use the cache at any point of a call; a forked child finds no lock held."""

from __future__ import annotations

import pytest

from tests.conftest import ForkPython

HANDLER = """
import random, signal, sys, time
import django
django.setup()
from django.core.cache import caches
from cachelayers import recall, unit_of_work

store = sys.argv[1]
cache = caches[store]
handled, is_handling = [0], []

def handle(number, frame):
    if is_handling:
        return
    is_handling.append(1)
    handled[0] += 1
    cache.set(f"handled-{handled[0] % 7}", "x" * 1000)
    cache.get("own-1")
    cache.delete("handled-3")
    recall("handler", lambda: "value", using=store)
    recall("recalled-3", lambda: "made", using=store)
    is_handling.clear()

signal.signal(signal.SIGALRM, handle)
handle(0, None)
deadline = time.monotonic() + 1.2
number = 0
while time.monotonic() < deadline or handled[0] < 6:  # a busy machine has few signals
    number += 1
    if number % 3 == 0:  # once, and never in the middle of itself
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00001, 0.003))
    key = f"own-{number % 50}"
    cache.set(key, number)
    found = cache.get(key)
    assert found in (None, number), (key, found, number)
    cache.delete(f"own-{number % 13}")
    with unit_of_work():
        assert recall(f"recalled-{number % 9}", lambda: "made", using=store) == "made"
signal.setitimer(signal.ITIMER_REAL, 0)
"""

FORKS = """
import os, sys, threading, time
import django
django.setup()
from django.db import connections
from cachelayers import recall, unit_of_work

store = sys.argv[1]
is_outdated = False
begun = threading.Semaphore(0)

def work():
    number = 0
    while not is_outdated:
        number += 1
        begun.release()
        with unit_of_work():
            recall(f"forks-{number % 20}", lambda: number, using=store, timeout=0.02)
    connections.close_all()

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for _ in range(40):  # what Python imports when it is first used, it locks
    begun.acquire()
hung = 0
deadline = time.monotonic() + 3
for number in range(60):
    child = os.fork()
    if child == 0:
        with unit_of_work():
            for own in range(3):
                recall(f"child-{own}", lambda: own, using=store, timeout=0.01)
        os._exit(0)
    end = time.monotonic() + 10
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, 9)
            os.waitpid(child, 0)
            hung += 1
            break
        time.sleep(0.001)
    if time.monotonic() > deadline or hung:
        break
is_outdated = True
for thread in threads:
    thread.join()
assert not hung, f"a child hung at fork {number}"
"""


@pytest.mark.usefixtures("django_db_setup")
@pytest.mark.parametrize("store", ["memory", "sqlite", "memory_table"])
def test_a_signal_handler_uses_the_cache_that_it_interrupts(
    fork_python: ForkPython, store: str
) -> None:
    process = fork_python(HANDLER, store)

    _, errors = process.communicate(timeout=60)

    assert process.returncode == 0, errors


@pytest.mark.usefixtures("django_db_setup")
@pytest.mark.parametrize("store", ["memory", "sqlite", "memory_table"])
def test_a_fork_while_threads_recall_does_not_hang(fork_python: ForkPython, store: str) -> None:
    process = fork_python(FORKS, store)

    _, errors = process.communicate(timeout=60)

    assert process.returncode == 0, errors
