"""The demo site as a server for the tests: two workers, and a folder that a test may change."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests import environment
from tests.browser import renders
from tests.environment import PROJECT
from tests.servers import Server, ServerError, page_is_there


class Site(Server):
    """gunicorn with the demo, like `make demo`."""

    name = "site"
    program = sys.executable
    package = "gunicorn"
    account = None  # its data is copied by the user that runs the tests
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path, storage: str = "") -> None:
        """``storage``: of the static files, instead of the demo's own."""
        super().__init__(folder)
        self.variables = variables_of(self.data, storage)

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def prepare(self) -> None:
        """Copy the data that all sites of a run start with."""
        shutil.copytree(built_site(), self.data, dirs_exist_ok=True)

    def command(self) -> list[str]:
        variables = (f"--env={name}={value}" for name, value in self.variables.items())
        return [
            *(sys.executable, "-m", "gunicorn", "testproject.wsgi:application"),
            *(f"--bind={self.address}", f"--chdir={PROJECT}", *variables),
            *("--workers=2", "--threads=4", "--log-level=warning", "--no-control-socket"),
            # Each request may reach the other worker, and a browser does not keep one from ending.
            *("--keep-alive=0", "--graceful-timeout=1"),
        ]

    def answers(self) -> bool:
        # A page of Django's, so that no test begins with a warm page of the site.
        return page_is_there(self.port, "/admin/login/")

    def take_renders(self) -> list[str]:
        """Return the names of the templates rendered since the last call."""
        return renders.take_renders(self.data)

    def deploy(self, changed: dict[str, str]) -> None:
        """Deploy other static files: collect them, and restart."""
        for name, content in changed.items():
            path = self.data / "changed" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        run("manage.py", "collectstatic", "--no-input", variables=self.variables)
        self.stop()
        self.start()


def variables_of(folder: Path, storage: str = "") -> dict[str, str]:
    """Return the environment for tests/browser/settings.py."""
    return {
        "DJANGO_SETTINGS_MODULE": "tests.browser.settings",
        "PYTHONPATH": str(PROJECT),
        "TESTPROJECT_DATA": str(folder),
        "TESTPROJECT_REDIS": "",
        "TESTPROJECT_STATIC_STORAGE": storage,
    }


def run(*command: str, variables: dict[str, str]) -> None:
    """Run Python for a site; raise with its output if it fails."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=PROJECT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise ServerError(f"site: {command} failed.\n{done.stderr}")


def built_site() -> Path:
    """Return the folder of a site to copy; the first process that asks creates it."""
    folder = environment.run_folder() / "built-site"
    with environment.only_one_process(environment.run_folder() / "built-site.lock"):
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            run("-m", "tests.browser.build", variables=variables_of(unfinished))
            unfinished.rename(folder)
    return folder
