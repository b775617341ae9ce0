"""The result of a command, and a terminal to run one on."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass

from django.core.management import CommandError

from tests.environment import PROJECT

WAIT_SECONDS = 60.0
CTRL_C = "\x03"
CTRL_D = "\x04"


@dataclass(frozen=True)
class Run:
    """The output of a command, and its CommandError."""

    out: str
    err: str
    error: CommandError | None

    @property
    def message(self) -> str:
        return str(self.error) if self.error else ""


RunCommand = Callable[..., Run]


def command_line(*arguments: str) -> list[str]:
    """Return the command as a user types it, on the small site."""
    return [sys.executable, "-W", "error", "-m", "django", *arguments]


def environment(**variables: str) -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.commands.small_site.settings",
        **variables,
    }


def run_without_terminal(
    *arguments: str, stdin: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command_line(*arguments),
        cwd=PROJECT,
        env=environment(**variables),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )


class Terminal:
    """A command that runs on its own terminal."""

    def __init__(self, *arguments: str) -> None:
        self.screen = ""
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            command_line(*arguments),
            cwd=PROJECT,
            env=environment(TERM="xterm", COLUMNS="100"),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            # It becomes the controlling terminal, so that Ctrl-C sends a signal.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )
        os.close(slave)

    def read_until(self, text: str) -> str:
        """Wait until the text is on the screen, and return the screen."""
        while text not in self.screen:
            assert self._read_more(), f"{text!r} did not come; the screen was:\n{self.screen}"
        return self.screen

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def press_ctrl_c(self) -> None:
        self.type(CTRL_C)

    def answer(self, text: str) -> int:
        """Type until the process ends, like an impatient user; return the exit code."""
        # Python may miss a signal that arrives just before it begins to wait for input.
        while self._process.poll() is None:
            self.type(text)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
        return self.wait()

    def wait(self) -> int:
        """Read to the end; return the exit code."""
        while self._read_more():
            pass
        return self._process.wait(WAIT_SECONDS)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def close(self) -> None:
        self._process.kill()
        self._process.wait(WAIT_SECONDS)
        os.close(self._master)

    def _read_more(self) -> bool:
        deadline = time.monotonic() + WAIT_SECONDS
        readable, _, _ = select.select([self._master], [], [], deadline - time.monotonic())
        assert readable, f"nothing came for {WAIT_SECONDS} s; the screen was:\n{self.screen}"
        try:
            piece = os.read(self._master, 65536)
        except OSError:  # Linux: EIO once the last process has closed the terminal
            return False
        self.screen += piece.decode(errors="replace")
        return bool(piece)


OpenTerminal = Callable[..., Terminal]
