"""One server process: how it is started, stopped, killed and paused."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Self

from tests.servers.ports import HOST, find_free_port, is_taken
from tests.servers.programs import account_exists, find_program, make_folder

START_SECONDS = 60.0  # a busy machine; a healthy server answers within two
STOP_SECONDS = 30.0
LOG_LINES = 20  # of a server's log, shown when it does not start
KEEPER = Path(__file__).with_name("keeper.py")


class ServerError(Exception):
    """A server is missing, or did not start or stop."""


class Server(ABC):
    """One server process with a folder and a port of its own, the same after each restart."""

    name: ClassVar[str]
    program: ClassVar[str]
    package: ClassVar[str]  # Debian's
    accounts: ClassVar[tuple[str, ...]] = ("nobody",)  # what it runs as when root starts it

    def __init__(
        self,
        folder: Path | None = None,
        *,
        port: int | None = None,
        durable: bool = False,
        owner_pid: int | None = None,
    ) -> None:
        """Describe a server; `start()` makes its data and its process.

        `durable` keeps the server's own settings for writing to disk, which tests do without.
        The server ends with the process `owner_pid`, by default the present one.
        """
        self.folder = folder or make_folder(f"cachelayers-{self.name}-")
        self.port = port or find_free_port()
        self.durable = durable
        self.owner_pid = owner_pid or os.getpid()
        self.pid = 0
        self._keeper: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    # What a test does to it

    def start(self) -> None:
        """Start, or start again with the same data, and return when the server answers."""
        if self.is_running:
            return
        if is_taken(self.port):
            raise self._error("did not start: something else listens there")
        if not self.data.exists():
            self._make_data()
        self._spawn()
        self._wait_until(self.answers, START_SECONDS)

    def stop(self) -> None:
        """Stop cleanly and return when the process has ended."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End it as a power cut would, and return when the process has ended."""
        self._end(signal.SIGKILL, whole_group=True)

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        os.killpg(self.pid, signal.SIGSTOP)
        self._signal_children(signal.SIGSTOP)
        self._wait_until(self._is_stopped, STOP_SECONDS)

    def resume(self) -> None:
        self._signal_children(signal.SIGCONT)
        os.killpg(self.pid, signal.SIGCONT)

    def _is_stopped(self) -> bool:
        """Tell whether all its threads have: one that has not may still answer."""
        stats = Path(f"/proc/{self.pid}/task").glob("*/stat")
        return all(stat.read_text().rpartition(")")[2].split()[0] in "Tt" for stat in stats)

    def _signal_children(self, number: signal.Signals) -> None:
        """Signal its processes too: each of PostgreSQL's is a process group of its own."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        for pid in children.read_text().split() if children.exists() else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), number)

    def remove(self) -> None:
        """Kill it and delete its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def leave_to_keeper(self) -> None:
        """Give up control: the server runs on until its owner ends."""
        if self._keeper is not None:
            self._keeper.returncode = 0  # so that nobody expects this process to wait for it
            self._keeper = None

    @property
    def is_running(self) -> bool:
        return self._keeper is not None and self._keeper.poll() is None

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    # What each server says about itself

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    @classmethod
    def find_program(cls, program: str | None = None) -> str | None:
        return find_program(program or cls.program, cls.program_folders())

    @classmethod
    def program_folders(cls) -> list[str]:
        return []

    @classmethod
    def explain_absence(cls) -> str | None:
        """Return why this server cannot be had here, or None."""
        if cls.find_program() is None:
            return f"the program {cls.program} was not found (Debian: apt install {cls.package})"
        return None

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that runs the server."""

    def prepare(self) -> None:  # noqa: B027 - most servers have nothing to prepare
        """Fill the data folder of a new server."""

    @abstractmethod
    def answers(self) -> bool:
        """Tell whether the server takes requests."""

    # How

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def account(self) -> str | None:
        """The user to become: PostgreSQL and MariaDB refuse to run as root."""
        if os.geteuid() != 0:
            return None
        return next(name for name in (*self.accounts, "nobody") if account_exists(name))

    def program_path(self, program: str | None = None) -> str:
        path = self.find_program(program)
        if path is None:
            raise ServerError(f"{self.name}: {self.explain_absence() or program}.")
        return path

    def run_tool(self, *command: str | Path) -> str:
        """Run one of the server's own programs as its account; return what it printed."""
        result = subprocess.run(
            [str(part) for part in command],
            user=self.account,
            extra_groups=[] if self.account else None,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        if result.returncode:
            raise ServerError(f"{self.name}: {command[0]} failed.\n{result.stdout}{result.stderr}")
        return result.stdout

    def _make_data(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(mode=0o700)
        if self.account:
            for path in (self.folder, self.data):
                shutil.chown(path, self.account)
        try:
            self.prepare()
        except BaseException:
            shutil.rmtree(self.data, ignore_errors=True)  # so that the next start begins anew
            raise

    def _spawn(self) -> None:
        command = [sys.executable, "-S", str(KEEPER), "--owner", str(self.owner_pid)]
        if self.account:
            command += ["--user", self.account]
        self._keeper = subprocess.Popen(
            [*command, "--log", str(self.log), "--", *self.command()],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # an interrupt from the keyboard is for the owner alone
        )
        assert self._keeper.stdout is not None
        with self._keeper.stdout as answer:
            self.pid = int(answer.readline() or 0)
        (self.folder / "keeper.pid").write_text(str(self._keeper.pid))

    def _end(self, number: signal.Signals, *, whole_group: bool = False) -> None:
        if self._keeper is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGCONT)  # a paused process would not hear of it
            (os.killpg if whole_group else os.kill)(self.pid, number)
        try:
            self._keeper.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise self._error(
                f"did not stop within {STOP_SECONDS:.0f} s of {number.name}"
            ) from None
        self._keeper = None

    def _wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if not self.is_running:
                raise self._error("ended while it was starting")
            if time.monotonic() > deadline:
                self.kill()
                raise self._error(f"did not answer within {seconds:.0f} s")
            time.sleep(0.02)

    def _error(self, what: str) -> ServerError:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        end_of_log = "\n".join(lines[-LOG_LINES:])
        return ServerError(f"{self.name} on port {self.port} {what}. Its log ends:\n{end_of_log}")
