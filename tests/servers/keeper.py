"""Run one server, and end it when its owner ends. Started as a script by the server.

    keeper.py --owner PID [--user NAME] [--log FILE] [--remove FOLDER] [-- COMMAND ...]

It prints the server's process id, waits until the server or the owner has ended, and leaves neither
the server nor FOLDER behind when it was the owner. Without COMMAND it only waits to remove FOLDER.

A process of its own, because nothing else holds in every case: `atexit` does not run on a
`kill -9`, and PR_SET_PDEATHSIG already fires when the *thread* that started the server ends, wants
a `preexec_fn` (unsafe and warned about where threads run) and exists on Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType

POLL_SECONDS = 0.1  # only where the system cannot wait for a process that is not a child


def main() -> int:
    options = parse_arguments()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, leave)
    server: subprocess.Popen[bytes] | None = None
    try:
        server = start_server(options) if options.command else None
        tell_pid(server)
        owner_ended = wait_for_an_end(server, options.owner)
    finally:
        if server is not None:
            end_group(server)
    if owner_ended and options.remove:
        shutil.rmtree(options.remove, ignore_errors=True)
    return 0 if server is None else abs(server.returncode)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--owner", type=int, required=True)
    parser.add_argument("--user")
    parser.add_argument("--log", type=Path, default=Path(os.devnull))
    parser.add_argument("--remove", type=Path)
    parser.add_argument("command", nargs="*")
    return parser.parse_args()


def leave(signal_number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + signal_number)


def start_server(options: argparse.Namespace) -> subprocess.Popen[bytes]:
    with options.log.open("ab") as log:
        return subprocess.Popen(
            options.command,
            user=options.user,
            group=primary_group(options.user),
            extra_groups=[] if options.user else None,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # so that one signal to the group reaches all its processes
        )


def primary_group(user: str | None) -> int | None:
    if user is None:
        return None
    import pwd

    return pwd.getpwnam(user).pw_gid


def tell_pid(server: subprocess.Popen[bytes] | None) -> None:
    sys.stdout.write(f"{server.pid if server else 0}\n")
    sys.stdout.flush()


def wait_for_an_end(server: subprocess.Popen[bytes] | None, owner_pid: int) -> bool:
    """Return True when the owner has ended, False when the server has."""
    both_ended = threading.Event()
    owner_ended = threading.Event()

    def watch_owner() -> None:
        wait_for_process(owner_pid)
        owner_ended.set()
        both_ended.set()

    threading.Thread(target=watch_owner, daemon=True).start()
    if server is None:
        both_ended.wait()
        return True

    def watch_server() -> None:
        server.wait()
        both_ended.set()

    threading.Thread(target=watch_server, daemon=True).start()
    both_ended.wait()
    return owner_ended.is_set()


def wait_for_process(pid: int) -> None:
    with contextlib.suppress(AttributeError, OSError):  # not on Linux, or an older kernel
        descriptor = os.pidfd_open(pid)
        select.select([descriptor], [], [])
        return
    while is_alive(pid):
        time.sleep(POLL_SECONDS)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def end_group(server: subprocess.Popen[bytes]) -> None:
    # Killed, not stopped: whoever wanted a clean stop has asked the server for it before.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


if __name__ == "__main__":
    sys.exit(main())
