"""The server that starts browsers."""

from __future__ import annotations

from tests.servers.ports import page_is_there
from tests.servers.programs import explain_missing_module
from tests.servers.server import Server


class Browser(Server):
    """chromedriver, which starts a Chromium for each session and ends it with the session.

    Not Playwright: its synchronous calls run an event loop in the thread of the tests, where Django
    then refuses every query of the worker's other tests; and Debian builds this driver together
    with its Chromium, so that the two always fit.
    """

    name = "browser"
    program = "chromedriver"
    package = "chromium-driver"

    @classmethod
    def explain_absence(cls) -> str | None:
        return super().explain_absence() or explain_missing_module("selenium", "selenium")

    def command(self) -> list[str]:
        # Profiles and reports of crashes: in the run's folder, and not where the account lives.
        folders = [f"{name}={self.data}" for name in ("HOME", "TMPDIR")]
        return ["/usr/bin/env", *folders, self.program_path(), f"--port={self.port}"]

    def answers(self) -> bool:
        return page_is_there(self.port, "/status")

    @property
    def url(self) -> str:
        return f"http://{self.address}"
