"""The Redis of `make demo REDIS=yes`: the demo's alone, and never there longer than the demo."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.environment import PROJECT
from tests.servers import ask_port

WAIT_SECONDS = 20.0
# Prints the URL that it was given, and ends when it is told to, with a status of its own.
COMMAND = """
import os, signal, sys
print(os.environ["TESTPROJECT_REDIS"], flush=True)
input()
sys.exit(7)
"""


class Demo:
    """A command that is run with a Redis."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, ".ci/with_redis.py", sys.executable, "-c", COMMAND],
            cwd=PROJECT,
            env={**os.environ, "TESTPROJECT_DATA": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # the traceback of a command that is interrupted
            text=True,
            start_new_session=True,  # so that an interrupt reaches all of it, as in a terminal
        )
        assert self.process.stdout is not None
        self.url = urlsplit(self.process.stdout.readline().strip())

    def says(self, question: str) -> bytes:
        assert self.url.port is not None
        return ask_port(self.url.port, question.encode())

    def is_served(self) -> bool:
        return self.says(f"AUTH {self.url.password}\r\nPING\r\n").startswith(b"+OK")


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path)
    yield demo
    demo.process.kill()
    demo.process.communicate()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "It did not happen in time."
        time.sleep(0.02)


def all_arguments() -> Iterator[bytes]:
    """Yield the arguments of every process, which any user may read."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # a process that has ended
            yield path.read_bytes()


@pytest.mark.redis
def test_the_redis_ends_with_the_command_whose_status_is_passed_on(demo: Demo) -> None:
    was_served = demo.is_served()

    demo.process.communicate("\n", timeout=WAIT_SECONDS)

    assert was_served
    assert demo.process.returncode == 7
    assert demo.says("PING\r\n") == b""
    assert list(demo.folder.iterdir()) == []


@pytest.mark.redis
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_redis_ends_when_the_demo_is_interrupted(demo: Demo, number: signal.Signals) -> None:
    os.killpg(demo.process.pid, number)

    demo.process.communicate(timeout=WAIT_SECONDS)

    assert demo.process.returncode != 0
    assert demo.says("PING\r\n") == b""
    assert list(demo.folder.iterdir()) == []


@pytest.mark.redis
def test_the_redis_ends_where_whoever_started_it_is_killed(demo: Demo) -> None:
    demo.process.kill()

    wait_until(lambda: demo.says("PING\r\n") == b"")


@pytest.mark.redis
def test_nobody_else_can_use_the_redis_or_read_how(demo: Demo) -> None:
    assert demo.url.hostname == "127.0.0.1"
    assert demo.says("PING\r\n").startswith(b"-NOAUTH")
    assert not any(str(demo.url.password).encode() in arguments for arguments in all_arguments())
    (options,) = demo.folder.rglob("redis.conf")
    assert options.parent.stat().st_mode & 0o077 == 0
    # Nor from another machine.
    listening = Path("/proc/net/tcp").read_text()
    assert f"0100007F:{demo.url.port:04X} 00000000:0000 0A" in listening
    assert f"00000000:{demo.url.port:04X} 00000000:0000 0A" not in listening


def test_a_redis_that_cannot_be_had_is_explained(tmp_path: Path) -> None:
    for program in ("sh", "dirname"):
        found = shutil.which(program)
        assert found is not None
        (tmp_path / program).symlink_to(found)

    done = subprocess.run(
        [PROJECT / ".ci" / "get-redis"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "REDIS=yes needs the program redis-server" in done.stderr
    assert "Plain 'make demo' needs no server" in done.stderr
