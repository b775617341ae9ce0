"""The benchmarks run from one end to the other, in most places and with the smallest figures."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.operations import OPERATIONS
from benchmarks.peers import BARE, CASHEWS, MEMORY, OURS, PEERS, STACKS, reference_of
from benchmarks.processes import MODES
from benchmarks.values import KINDS
from tests.servers import is_taken

CHECKOUT = Path(__file__).parents[2]
# Processes and growth, which take long, are measured on SQLite only, and memcached, whose peers are
# those of Redis, is left to `make bench`.
STORES = ["sqlite", "memory", pytest.param("redis", marks=pytest.mark.redis)]
in_full = pytest.mark.parametrize("smoke", ["sqlite"], indirect=True)
WITHOUT_REDIS = """if True:
    import sys
    from benchmarks import __main__, machines
    machines.find_missing = lambda: {"redis": "it is elsewhere"}
    __main__.main(sys.argv[1:])
"""

Smoke = tuple[str, str, dict[str, Any]]


def run(*arguments: str | Path) -> str:
    return execute("-m", *arguments)


def execute(*arguments: str | Path) -> str:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, cwd=CHECKOUT, check=True, stdout=subprocess.PIPE, text=True, timeout=100
    ).stdout


@pytest.fixture(scope="module", params=STORES)
def smoke(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    """The place of a run, what it printed, and the JSON that it wrote."""
    folder = shared_folder(tmp_path_factory)
    path, printed = folder / f"{request.param}.json", folder / f"{request.param}.txt"
    with (folder / f"{request.param}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one run for all of pytest's workers
        if not printed.exists():
            printed.write_text(print_of(request.param, path))
    return request.param, printed.read_text(), json.loads(path.read_text())


def print_of(place: str, path: Path) -> str:
    """Run the benchmarks in one place; beside memory, on a Redis that cannot be had."""
    options: list[str | Path] = ["--smoke", "--json", path]
    if place == "memory":
        return execute("-c", WITHOUT_REDIS, *options, "--only=redis", "--only=memory")
    return run("benchmarks", *options, f"--{'on' if place == 'sqlite' else 'only'}={place}")


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of this run of the tests."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "bench"
    folder.mkdir(exist_ok=True)
    return folder


def peers_in(place: str) -> list[str]:
    return [peer.name for peer in PEERS if peer.database == place]


def test_every_operation_is_timed_on_every_peer_with_every_kind_of_value(smoke: Smoke) -> None:
    place, _, written = smoke

    timed = {(each["operation"], each["peer"], each["value"]) for each in written["operations"]}

    assert timed == {
        (operation.name, peer, kind)
        for operation in OPERATIONS
        for peer in peers_in(place)
        for kind in KINDS
    }


@in_full
def test_every_peer_is_used_by_threads_and_by_processes_at_once(smoke: Smoke) -> None:
    place, _, written = smoke

    crowds = {(each["peer"], each["mode"]) for each in written["processes"]}
    racers = [each["peer"] for each in written["races"]]

    crowded = [peer for peer in peers_in(place) if peer != BARE]
    assert crowds == {(peer, mode.name) for peer in crowded for mode in MODES}
    assert racers == [peer for peer in crowded if (peer, place) != (CASHEWS, MEMORY)]


@in_full
def test_a_table_grows_where_there_is_one(smoke: Smoke) -> None:
    place, _, written = smoke

    assert [each["peer"] for each in written["growth"]] == peers_in(place)


@in_full
def test_ours_loses_nothing_while_it_is_measured(smoke: Smoke) -> None:
    _, _, written = smoke

    crowds = [each for each in written["processes"] if each["peer"] in {OURS, *STACKS}]
    races = [each for each in written["races"] if each["peer"] in {OURS, *STACKS}]

    assert crowds
    assert races
    assert {(each["lost"], each["misses"], each["faults"]) for each in crowds} == {(0, 0, 0)}
    assert all(each["counted"] == each["expected"] and not each["faults"] for each in races)


def test_the_others_are_compared_with_ours_in_the_same_place(smoke: Smoke) -> None:
    place, printed, _ = smoke

    assert f"{place}, 1 KB dict: calls per second ({reference_of(place)} is so" in printed


@in_full
def test_a_quick_run_says_that_its_figures_prove_nothing(smoke: Smoke) -> None:
    _, printed, _ = smoke

    assert "Targets, from a smoke run: a hint, no proof" in printed


@pytest.mark.parametrize("smoke", ["memory"], indirect=True)
def test_a_server_that_cannot_be_had_is_named_and_the_rest_is_measured(smoke: Smoke) -> None:
    _, printed, _ = smoke

    assert "MISSING: redis: it is elsewhere" in printed
    assert "memory, 1 KB dict" in printed


@pytest.mark.redis
def test_a_server_ends_with_a_run_that_fails() -> None:
    program = """if True:
        from benchmarks.environment import published_ports
        from benchmarks.machines import running
        try:
            with running(["redis"]):
                port = published_ports()["redis"]
                raise RuntimeError
        except RuntimeError:
            print(port)
    """

    port = int(execute("-c", program))

    assert not is_taken(port)


@pytest.mark.parametrize("operation", ["get", "delete"])
def test_a_profile_shows_what_takes_part_in_an_operation(operation: str) -> None:
    printed = run("benchmarks.profile", "sqlite", operation, "--calls=20", "--rows=200")

    assert f"ours on sqlite, {operation}" in printed
    assert "backends/database/" in printed


@pytest.mark.redis
def test_a_profile_shows_the_stack_where_there_are_several_layers() -> None:
    printed = run("benchmarks.profile", "redis", "get", "--calls=20", "--rows=200")

    assert "memory+redis on redis, get" in printed
    assert "backends/layered/" in printed
