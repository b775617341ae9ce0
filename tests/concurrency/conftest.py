"""Fixtures for several processes that use one cache and begin at the same moment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.test import override_settings

from tests.concurrency.program import PROGRAM
from tests.conftest import ForkPython
from tests.contract.fixtures import add_alias, clock, make_cache
from tests.forks import Forked

__all__ = ["clock", "make_cache"]

SECONDS = 60.0  # for a busy machine

# The tests check that nothing is lost, not how long many processes may wait on two cores.
PATIENT = {"BUSY_SECONDS": 30}

SHARED_BY_PROCESSES = [
    "sqlite",
    "sqlite_shared",
    pytest.param("postgres", marks=pytest.mark.postgres),
    pytest.param("mariadb", marks=pytest.mark.mariadb),
]


class StartProgram(Protocol):
    """Start a program of ``tests.concurrency.program``; it waits for `go`."""

    def __call__(
        self, name: str, *arguments: object, options: Mapping[str, object] | None = ...
    ) -> Forked: ...


@pytest.fixture
def start_program(cache_alias: str, fork_python: ForkPython) -> StartProgram:
    def start(name: str, *arguments: object, options: Mapping[str, object] | None = None) -> Forked:
        told = json.dumps({**PATIENT, **(options or {})})
        return fork_python(PROGRAM, name, cache_alias, told, *arguments)

    return start


@pytest.fixture
def cache(cache_alias: str) -> Iterator[BaseCache]:
    """Return the cache under test, with time limits for many processes on a busy machine."""
    patient = add_alias(settings.CACHES, cache_alias, cache_alias, PATIENT, {})
    with override_settings(CACHES=patient):
        yield caches[cache_alias]
        caches[cache_alias].clear()


def go(*processes: Forked) -> list[Any]:
    """Let the processes begin together, and return their answers."""
    begin(*processes)
    return [answer_of(process) for process in processes]


def begin(*processes: Forked) -> None:
    for process in processes:
        expect_line(process, "ready")
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()


def expect_line(process: Forked, line: str) -> None:
    said = process.stdout.readline().strip()
    if said != line:
        _, errors = process.communicate(timeout=SECONDS)
        raise AssertionError(f"The process said {said!r} instead of {line!r}.\n{errors}")


def answer_of(process: Forked) -> Any:
    output, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors
    return json.loads(output.splitlines()[-1])
