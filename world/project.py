"""A user's project: made by ``django-admin``, changed by adding lines, run as a process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

APPS = Path(__file__).with_name("apps")
NAME = "website"
SECONDS = 180  # for one command on a busy machine


class Project:
    """A folder with a project, and its databases."""

    def __init__(self, folder: Path) -> None:
        """Create it like Django's tutorial."""
        self.folder = folder
        folder.mkdir(parents=True)
        run([sys.executable, "-m", "django", "startproject", NAME, "."], folder)

    def add_app(self, name: str) -> None:
        """Copy an app, and add it to INSTALLED_APPS."""
        shutil.copytree(APPS / name, self.folder / name)
        self.add_settings(f"INSTALLED_APPS += [{name!r}]")

    def add_settings(self, *lines: str, **values: Any) -> None:
        """Append lines, or settings by name, to settings.py."""
        with (self.folder / NAME / "settings.py").open("a") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.writelines(f"{name} = {value!r}\n" for name, value in values.items())

    def settings(self) -> str:
        return (self.folder / NAME / "settings.py").read_text()

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def manage(self, *arguments: str, **variables: str) -> str:
        """Run ``manage.py`` and return its output. AssertionError if it fails."""
        return self.python("-W", "error::RuntimeWarning", "manage.py", *arguments, **variables)

    def python(self, *arguments: str, **variables: str) -> str:
        """Run Python in the project's folder and return its output."""
        return run([sys.executable, *arguments], self.folder, variables)

    def shell(self, code: str, **variables: str) -> str:
        """Run code in a new process, with the project set up, and return its output."""
        setup = f"import os, django\nos.environ['DJANGO_SETTINGS_MODULE'] = '{NAME}.settings'\n"
        return self.python("-c", f"{setup}django.setup()\n{code}", **variables).strip()

    @contextmanager
    def process(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run ``manage.py`` or a module during the block, and end it with its children."""
        command = arguments if arguments[0] == "-m" else ("manage.py", *arguments)
        log = (self.folder / f"{command[1]}.log").open("w")
        with (
            log,
            subprocess.Popen(
                [sys.executable, *command],
                cwd=self.folder,
                env=environment({}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                text=True,
            ) as process,
        ):
            try:
                yield process
            finally:
                # The process group, because queues start workers of their own.
                os.killpg(process.pid, signal.SIGKILL)


def run(command: list[str], folder: Path, variables: Mapping[str, str] | None = None) -> str:
    """Run a command and return its output. AssertionError if it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(variables or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
    return done.stdout


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a user's shell, without the variables of the test run."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST", "CACHELAYERS", "DJANGO"))
    }
    return {**own, **variables}
