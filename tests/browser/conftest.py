"""A site to read, a site to change, and a browser window that records every error."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests import environment
from tests.browser.site import Site
from tests.browser.window import Window

OpenWindow = Callable[[Site], Window]


@pytest.fixture(scope="session")
def read_only_site() -> Iterator[Site]:
    """Return the site for all tests of this worker that only read."""
    with Site(environment.make_private_folder("site")) as site:
        yield site


@pytest.fixture
def storage() -> str:
    """Return the storage of a test's own site; "" is the demo's."""
    return ""


@pytest.fixture
def own_site(storage: str) -> Iterator[Site]:
    """Return a site that only this test changes."""
    with Site(environment.make_private_folder("site"), storage) as site:
        yield site


@pytest.fixture
def open_window() -> Iterator[OpenWindow]:
    """Return a function that opens a new browser on a site.

    A test fails if one of its windows has an error that the test did not take.
    """
    driver_url = f"http://127.0.0.1:{environment.server_port('browser')}"
    windows: list[Window] = []

    def start(site: Site) -> Window:
        windows.append(Window(driver_url, site.url))
        return windows[-1]

    try:
        yield start
        for window in windows:
            assert window.take_troubles() == []
    finally:
        for window in windows:
            window.close()


@pytest.fixture
def window(read_only_site: Site, open_window: OpenWindow) -> Window:
    return open_window(read_only_site)
