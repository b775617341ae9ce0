"""Where a run keeps its files and servers: decided once, inherited by every process of the run.

Imported by tests.settings and tests.conftest. The first process decides (pytest, or the controller
of pytest-xdist) and writes its decisions into `os.environ`, so that pytest's workers and the
programs that tests start find the same folder and the same ports. Nothing is made or started here
before it is needed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from tests.servers import (
    KEEPER,
    SERVERS,
    DatabaseServer,
    Server,
    ServerError,
    find_free_port,
    find_missing,
    reachable_folder,
)
from tests.servers.keeper import wait_for_process

PROJECT = Path(__file__).resolve().parent.parent  # the checkout
FOLDER = "CACHELAYERS_TEST_FOLDER"
OWNER = "CACHELAYERS_TEST_OWNER"  # the process id of the run's first process
WORKER = "CACHELAYERS_TEST_WORKER"  # whose database servers the ports are
REQUIRE_SERVERS = "CACHELAYERS_REQUIRE_SERVERS"
MEMORY = Path("/dev/shm")
MEMORY_BYTES = 6 * 2**30  # far more than a run has ever had at one time


def port_variable(server_name: str) -> str:
    return f"CACHELAYERS_TEST_{server_name.upper()}_PORT"


def decide_once() -> None:
    """Name the run's folder and the port of each server that can be had, if nobody has yet.

    Each worker has database servers of its own: a transaction that is open in one worker's database
    would hold up what a test of another waits for.
    """
    if FOLDER in os.environ:
        if os.environ[WORKER] != worker_name():
            os.environ[WORKER] = worker_name()
            for name, kind in SERVERS.items():
                if issubclass(kind, DatabaseServer) and server_port(name) is not None:
                    os.environ[port_variable(name)] = str(find_free_port())
        return
    missing = find_missing()
    os.environ[WORKER] = worker_name()
    for name in SERVERS:
        os.environ.pop(port_variable(name), None)
        if name not in missing:
            os.environ[port_variable(name)] = str(find_free_port())
    os.environ[OWNER] = str(os.getpid())
    os.environ[FOLDER] = str(parent_folder() / f"cachelayers-tests-{uuid4().hex[:12]}")


def parent_folder() -> Path:
    """Return a folder in memory, if there is room: on a disk, each commit of a test waits for it.

    A `TMPDIR` of the environment has its way.
    """
    if "TMPDIR" not in os.environ and has_room(MEMORY):
        return MEMORY
    return reachable_folder()


def has_room(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= MEMORY_BYTES


def is_owner() -> bool:
    return os.environ.get(OWNER) == str(os.getpid())


def run_folder() -> Path:
    return Path(os.environ[FOLDER])


def worker_name() -> str:
    """Return the name that keeps this worker's files and databases apart from the others'."""
    return os.environ.get("PYTEST_XDIST_WORKER", "main")


def worker_number() -> int:
    """Return a number of this worker's own, from 0 to 15: a Redis has 16 databases."""
    return int("".join(filter(str.isdigit, worker_name())) or 0) % 16


def worker_folder() -> Path:
    return run_folder() / worker_name()


def database_name() -> str:
    return f"cachelayers_{worker_name()}"


def server_port(server_name: str) -> int | None:
    """Return the port set aside for the run's server of this name; None where it is missing."""
    port = os.environ.get(port_variable(server_name))
    return int(port) if port else None


def servers_are_required() -> bool:
    return os.environ.get(REQUIRE_SERVERS, "") not in {"", "0"}


# The run's folder


def make_run_folder() -> None:
    run_folder().mkdir()
    run_folder().chmod(0o755)  # a server's own account has to reach its data
    remove_folder_with_this_process(run_folder())


def remove_folder_with_this_process(folder: Path) -> None:
    """Have `folder` removed if this process is killed before it can do so itself."""
    command = [sys.executable, "-S", str(KEEPER), "--owner", str(os.getpid())]
    keeper = subprocess.Popen(
        [*command, "--remove", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    (folder / "keeper.pid").write_text(str(keeper.pid))
    keeper.returncode = 0  # nobody waits for it: end_run() tells it to go


def end_run() -> None:
    """Stop every server that the run still has, and remove its folder."""
    for pid_file in run_folder().rglob("keeper.pid"):
        keeper_pid = int(pid_file.read_text())
        with contextlib.suppress(ProcessLookupError):
            os.kill(keeper_pid, signal.SIGTERM)
            wait_for_keeper(keeper_pid)
    shutil.rmtree(run_folder(), ignore_errors=True)


def make_private_folder(name: str) -> Path:
    """Make a folder for one test's own server."""
    folder = worker_folder() / f"{name}-{uuid4().hex[:8]}"
    folder.mkdir()
    return folder


def wait_for_keeper(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:  # a worker has started it
        wait_for_process(pid)


# The run's servers


def shared_server(name: str) -> Server:
    """Return the worker's or the run's server of this name, which may not have been started."""
    port = server_port(name)
    if port is None:
        raise ServerError(f"{name}: {find_missing().get(name, 'it was not found')}.")
    kind = SERVERS[name]
    folder = worker_folder() if issubclass(kind, DatabaseServer) else run_folder()
    return kind(folder / name, port=port, owner_pid=int(os.environ[OWNER]))


def start_shared_server(name: str) -> Server:
    """Start the worker's or the run's server of this name, unless it runs, and return it."""
    server = shared_server(name)
    with only_one_process(server.folder.with_suffix(".lock")):
        if not server.answers():
            start_or_tell_the_others(server, server.folder.with_suffix(".failed"))
    return server


def start_or_tell_the_others(server: Server, failure: Path) -> None:
    if failure.exists():
        raise ServerError(failure.read_text())
    try:
        server.start()
    except ServerError as error:
        failure.write_text(str(error))
        raise
    server.leave_to_keeper()


@contextlib.contextmanager
def only_one_process(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make_database(server_name: str) -> None:
    """Start the server and make this worker's database on it."""
    server = start_shared_server(server_name)
    assert isinstance(server, DatabaseServer)
    server.create_database(database_name())
