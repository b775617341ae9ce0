"""A forked process behaves like one that was started."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.conftest import ForkPython


def test_it_has_its_arguments_environment_input_and_exit_code(fork_python: ForkPython) -> None:
    code = """
import os, sys, __main__
class Found: ...
print(sys.argv[1:], os.environ["COLOUR"], __main__.Found is Found, sys.stdin.readline())
sys.exit(3)
"""
    process = fork_python(code, 1, "b", COLOUR="red")

    out, errors = process.communicate("blue\n", timeout=20)

    assert (out.split("\n")[0], errors) == ("['1', 'b'] red True blue", "")
    assert process.returncode == 3


def test_an_error_is_printed_and_what_python_runs_at_the_end_runs(fork_python: ForkPython) -> None:
    code = "import atexit\natexit.register(print, 'the end')\nraise ValueError('odd')"
    process = fork_python(code)

    out, errors = process.communicate(timeout=20)

    assert out == "the end\n"
    assert errors.endswith("ValueError: odd\n")
    assert process.returncode == 1


def test_it_can_be_waited_for_and_killed(fork_python: ForkPython) -> None:
    process = fork_python("import time\nprint('begun', flush=True)\ntime.sleep(60)")
    assert process.stdout.readline() == "begun\n"

    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    assert process.poll() is None
    process.kill()

    assert process.wait(20) == -signal.SIGKILL
