"""Every fault of an SQLite file: as a store, and as a layer with the events beside its entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from django.conf import settings
from django.core.cache import caches
from django.test import override_settings

from tests.conftest import RunPython
from tests.faults.conftest import BUSY_SECONDS, OpenCache, sqlite_settings
from tests.faults.harness import OPERATIONS, find_breaches, find_older_values, prepare
from tests.faults.program import PROGRAM
from tests.faults.test_sqlite_files import await_ready, checkpoint, damage, finish
from tests.settings import layered_cache, memory_cache

LONGEST_SECONDS = len(OPERATIONS) * BUSY_SECONDS + 2.0  # and a busy machine


@contextmanager
def locked(path: Path, run_python: RunPython) -> Iterator[None]:
    holder = run_python(PROGRAM, "hold_lock", path, "writers")
    await_ready(holder)
    yield
    finish(holder)


@contextmanager
def rubbish(path: Path, _: RunPython) -> Iterator[None]:
    checkpoint(path)
    damage(path, "everything")
    yield


@contextmanager
def moved_away(path: Path, _: RunPython) -> Iterator[None]:
    path.rename(path.with_name("away.sqlite3"))
    yield


@contextmanager
def replaced_by_a_folder(path: Path, _: RunPython) -> Iterator[None]:
    for one in path.parent.glob(f"{path.name}*"):
        one.unlink()
    path.mkdir()
    yield
    path.rmdir()


FAULTS: list[Callable[[Path, RunPython], AbstractContextManager[None]]] = [
    locked,
    rubbish,
    moved_away,
    replaced_by_a_folder,
]


@pytest.mark.parametrize("is_layer", [False, True], ids=["store", "layer and bus"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_file(
    fault: Callable[[Path, RunPython], AbstractContextManager[None]],
    is_layer: bool,
    open_cache: OpenCache,
    sqlite_path: Path,
    run_python: RunPython,
) -> None:
    alias = f"{fault.__name__}-{is_layer}"
    open_cache(alias, sqlite_settings(sqlite_path))
    memory, stack = f"{alias}-memory", f"{alias}-stack"
    new = {memory: memory_cache(), stack: layered_cache(memory, alias, bus="log")}
    with override_settings(CACHES={**settings.CACHES, **new}):
        cache = caches[stack if is_layer else alias]
        prepare(cache)
        with fault(sqlite_path, run_python):
            breaches = find_breaches(cache, LONGEST_SECONDS)
        breaches += find_older_values(cache)

    assert breaches == []
