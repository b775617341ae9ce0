"""Runs a warmer while the caller continues. `tasks` calls it for the admin."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import IO

from django.conf import settings
from django.core.management import call_command
from django.db import connections

from cachelayers.utils.text import without_secrets
from cachelayers.warming.outcomes import Outcome, State
from cachelayers.warming.runs import (
    RunState,
    Source,
    claim,
    holds,
    last_run_of,
    transfer_claim,
    warmer_source,
)

# How long a claim is valid before the started process renews it.
START_SECONDS = 60.0
LONGEST_COMPLAINT = 2000


def run_warmer(name: str, arguments: Sequence[str] = ()) -> None:
    """Run one warmer in this process, as ``warm_cache`` does."""
    call_command("warm_cache", *arguments, "--", name, verbosity=0)


def start_process(name: str, arguments: Sequence[str] = ()) -> None:
    """Run one warmer in its own process, which outlives the request and the server.

    Raises AlreadyRunning, and OSError if no process can be started.
    """
    source = warmer_source(name)
    record = claim(source, time_limit=START_SECONDS)
    command = ["warm_cache", "--verbosity=0", f"--claimed={record.token}"]
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - the thread below closes it
    try:
        process = subprocess.Popen(
            [*python(), *command, *arguments, "--", name],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,  # it must not get the server's signals
        )
    except OSError:
        errors.close()
        record.end(RunState.INTERRUPTED)
        raise
    transfer_claim(source, process=process.pid, token=record.token)
    Thread(
        target=wait_for_process,
        args=(process, source, record.token, errors),
        name=f"warm_cache-{process.pid}",
        daemon=True,
    ).start()


def wait_for_process(
    process: subprocess.Popen[bytes], source: Source, token: str, errors: IO[bytes]
) -> None:
    """Wait for a process. If it died before it recorded an error, record that."""
    try:
        if process.wait() != 0:
            errors.seek(0)
            said = errors.read()[-LONGEST_COMPLAINT:].decode(errors="replace")
            record_death(source, token, process.returncode, said)
    finally:
        errors.close()
        connections.close_all()


def record_death(source: Source, token: str, code: int, said: str) -> None:
    """Mark a record that is still open as failed."""
    run = last_run_of(source)
    if (
        run is None
        or run.state not in {RunState.RUNNING, RunState.LOST}
        or not holds(source, token)
    ):
        return  # the process has recorded its end itself
    last_line = without_secrets((said.strip().splitlines() or ["it said nothing"])[-1])
    record = claim(source, time_limit=START_SECONDS, token=token)
    record.planned(1, seconds=0.0)
    reason = f"its process ended with {code}: {last_line}"
    record.count(Outcome(label=str(source), state=State.FAILED, reason=reason))
    record.end(RunState.INTERRUPTED)


def python() -> list[str]:
    """Return the beginning of the command line.

    In uWSGI and other servers that embed Python, sys.executable is the server.
    """
    here = Path(sys.executable)
    if not here.name.startswith("python"):
        here = Path(sys.exec_prefix) / "bin" / "python"
    return [str(here), "-m", "django"]


def environment() -> dict[str, str]:
    """Return the environment with which the process finds the same project."""
    path = os.pathsep.join(each or str(Path.cwd()) for each in sys.path)
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": settings.SETTINGS_MODULE,
        "PYTHONPATH": path,
    }
