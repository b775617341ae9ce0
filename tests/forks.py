"""Python processes that start at once: forked from one in which Django is set up.

To start Python and Django takes most of the time of a test of several processes. `python -m
tests.forks NUMBER` is the process to fork from: it gets orders on a socket, and is started by the
first order for its settings. Where a process has to start like a user's, tests use `run_python`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import IO, Any

from tests import environment

LONGEST_ORDER = 2**20  # bytes


class Forked:
    """A forked process, with the interface of `subprocess.Popen`, as far as tests use it."""

    def __init__(self, settings_module: str, arguments: list[str], environ: dict[str, str]) -> None:
        self.args = arguments
        self.returncode: int | None = None
        order = json.dumps({"arguments": arguments, "environ": environ})
        pipes = [os.pipe() for _ in range(4)]
        (stdin, own_stdin), (own_stdout, stdout), (own_stderr, stderr), (status, own) = pipes
        theirs = [stdin, stdout, stderr, own]
        socket.send_fds(socket_of_server(settings_module), [order.encode()], theirs)
        for number in theirs:
            os.close(number)
        self.stdin: IO[str] = os.fdopen(own_stdin, "w")
        self.stdout: IO[str] = os.fdopen(own_stdout)
        self.stderr: IO[str] = os.fdopen(own_stderr)
        self._status: IO[str] = os.fdopen(status)
        self.pid = int(self._status.readline())

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._status.readline())
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended, and its status is to come
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, given: str = "", timeout: float | None = None) -> tuple[str, str]:
        """Give it an input, wait for its end, return its output and its errors, close the pipes."""
        began = time.monotonic()
        with contextlib.suppress(BrokenPipeError), self.stdin:
            self.stdin.write(given)
        with ThreadPoolExecutor(2) as readers:
            out, err = readers.map(read_to_the_end, (self.stdout, self.stderr))
        self.wait(timeout and max(timeout - time.monotonic() + began, 0))
        self._close()
        return out, err

    def end(self) -> None:
        """Kill it if it runs, and close its pipes."""
        self.kill()
        self.wait()
        self._close()

    def _close(self) -> None:
        for pipe in (self.stdin, self.stdout, self.stderr, self._status):
            with contextlib.suppress(BrokenPipeError):  # input that it did not live to read
                pipe.close()


def read_to_the_end(pipe: IO[str]) -> str:
    return "" if pipe.closed else pipe.read()


def fork(
    module_or_code: str, *arguments: object, settings: str = "tests.settings", **variables: str
) -> Forked:
    """Run a module by its name, or some code, in a forked process; the caller ends it."""
    environ = {**os.environ, **variables, "DJANGO_SETTINGS_MODULE": settings}
    return Forked(settings, [module_or_code, *map(str, arguments)], environ)


@functools.cache
def socket_of_server(settings_module: str) -> socket.socket:
    """Start the process to fork from, which ends when this process closes its end of the socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.forks", str(theirs.fileno())],
            cwd=environment.PROJECT,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": settings_module},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
    server.returncode = 0  # nobody waits for it
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LONGEST_ORDER)
    return ours


# In the process to fork from


def serve(orders: socket.socket) -> None:
    """Fork for each order."""
    import django
    from django.db import connections

    django.setup()
    connections.all()  # imports what they need, and connects to nothing
    gc.collect()
    gc.freeze()  # so that a collection in a forked process need not copy all of it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that watch
    while True:
        order, pipes, _, _ = socket.recv_fds(orders, LONGEST_ORDER, 4)
        if not order:
            return
        if os.fork() == 0:
            orders.close()
            watch(json.loads(order), pipes)
        for number in pipes:
            os.close(number)


def watch(order: dict[str, Any], pipes: list[int]) -> None:
    """Fork once more, and tell the new process's id and how it ends; in that, run the order."""
    *standard, status = pipes
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if child := os.fork():
        for number in standard:
            os.close(number)
        os.write(status, f"{child}\n".encode())
        _, ended = os.waitpid(child, 0)
        with contextlib.suppress(BrokenPipeError):
            os.write(status, f"{os.waitstatus_to_exitcode(ended)}\n".encode())
        os._exit(0)
    os.close(status)
    for target, number in enumerate(standard):
        os.dup2(number, target)
        os.close(number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as Python itself does
    os._exit(exit_code_of(order))  # to take all modules apart, as Python does, takes longer


def exit_code_of(order: dict[str, Any]) -> int:
    """Run the order, and what Python runs at the end of a process."""
    code: object = 0
    try:
        run(order)
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001 - printed, as Python itself does
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined] # waits for other threads
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BrokenPipeError):
            stream.flush()
    return code if isinstance(code, int) else int(code is not None)


def run(order: dict[str, Any]) -> None:
    """Run the order as a process of its own: as `__main__`, with its environment."""
    module_or_code, *arguments = order["arguments"]
    os.environ.clear()
    os.environ.update(order["environ"])
    read_settings_again(order["environ"]["DJANGO_SETTINGS_MODULE"])
    sys.argv = ["", *arguments]
    if module_or_code.replace(".", "").isidentifier():
        runpy.run_module(module_or_code, run_name="__main__", alter_sys=True)
    else:
        main = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(module_or_code, "<forked>", "exec"), vars(main))


def read_settings_again(settings_module: str) -> None:
    """Take the caches that the environment names."""
    if settings_module == "tests.settings":
        return
    from django.conf import settings
    from django.core.signals import setting_changed

    caches = importlib.reload(sys.modules[settings_module]).CACHES
    settings.CACHES = caches
    setting_changed.send(None, setting="CACHES", value=caches, enter=True)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
