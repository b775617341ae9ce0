"""Run a warmer while the caller goes on. Called by ``tasks``, the door for the admin."""

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
    hand_over,
    holds,
    last_run_of,
    warmer_source,
)

# Until the process that was started speaks for itself.
START_SECONDS = 60.0
LONGEST_COMPLAINT = 2000


def run_warmer(name: str, arguments: Sequence[str] = ()) -> None:
    """Run one warmer as ``warm_cache`` does, here and now."""
    call_command("warm_cache", *arguments, "--", name, verbosity=0)


def start_process(name: str, arguments: Sequence[str] = ()) -> None:
    """Run one warmer in a process of its own, which outlives the request and the server.

    Raises AlreadyRunning, and OSError where no process can be started.
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
            start_new_session=True,  # signals for the server are not for it
        )
    except OSError:
        errors.close()
        record.end(RunState.INTERRUPTED)
        raise
    hand_over(source, process=process.pid, token=record.token)
    Thread(
        target=wait_for_process,
        args=(process, source, record.token, errors),
        name=f"warm_cache-{process.pid}",
        daemon=True,
    ).start()


def wait_for_process(
    process: subprocess.Popen[bytes], source: Source, token: str, errors: IO[bytes]
) -> None:
    """Wait for a process; where it died before it could say why, say so in its record."""
    try:
        if process.wait() != 0:
            errors.seek(0)
            said = errors.read()[-LONGEST_COMPLAINT:].decode(errors="replace")
            note_death(source, token, process.returncode, said)
    finally:
        errors.close()
        connections.close_all()


def note_death(source: Source, token: str, code: int, said: str) -> None:
    """End a record that is still open."""
    run = last_run_of(source)
    if (
        run is None
        or run.state not in {RunState.RUNNING, RunState.LOST}
        or not holds(source, token)
    ):
        return  # it has said so itself
    last_line = without_secrets((said.strip().splitlines() or ["it said nothing"])[-1])
    record = claim(source, time_limit=START_SECONDS, token=token)
    record.planned(1, seconds=0.0)
    reason = f"its process ended with {code}: {last_line}"
    record.note(Outcome(label=str(source), state=State.FAILED, reason=reason))
    record.end(RunState.INTERRUPTED)


def python() -> list[str]:
    """The beginning of the command line.

    Within uWSGI and other servers that hold an interpreter, sys.executable is the server.
    """
    here = Path(sys.executable)
    if not here.name.startswith("python"):
        here = Path(sys.exec_prefix) / "bin" / "python"
    return [str(here), "-m", "django"]


def environment() -> dict[str, str]:
    """What the process needs to find the project as this one did."""
    path = os.pathsep.join(each or str(Path.cwd()) for each in sys.path)
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": settings.SETTINGS_MODULE,
        "PYTHONPATH": path,
    }
