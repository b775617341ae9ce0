"""A changed file is fetched again, and an unchanged one comes from the browser's cache."""

from __future__ import annotations

import time

import pytest

from tests.browser.conftest import OpenWindow
from tests.browser.site import Site
from tests.browser.window import WAIT_SECONDS, Fetched, Window
from tests.environment import PROJECT

pytestmark = pytest.mark.browser

CSS = "site/site.css"
OLD_CSS = (PROJECT / "testproject/pages/static" / CSS).read_text(encoding="utf-8")
NEW_CSS = OLD_CSS + "\nh1 { letter-spacing: 7px; }\n"


KINDS = {"css", "js", "svg"}


def files_of(window: Window, path: str) -> dict[str, Fetched]:
    """Open a page; return the first response for each of its files, by the ending of the name.

    The browser reports some of them after it has called the page loaded.
    """
    window.take_fetched()
    window.open(path)
    fetched: list[Fetched] = []
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        fetched += window.take_fetched()
        page = next((number for number, one in enumerate(fetched) if one.path == path), 0)
        files = {file.path.rpartition(".")[2]: file for file in reversed(fetched[page + 1 :])}
        if set(files) >= KINDS or time.monotonic() > deadline:
            return files
        time.sleep(0.02)


def test_a_second_page_loads_no_file_that_the_first_has_loaded(window: Window) -> None:
    first = files_of(window, "/about/")
    second = files_of(window, "/caching/")

    assert sorted(first) == sorted(second) == sorted(KINDS)
    assert not any(file.is_from_cache for file in first.values())
    assert all(file.is_from_cache for file in second.values())


@pytest.mark.parametrize(
    "storage",
    ["", "whitenoise.storage.CompressedStaticFilesStorage"],
    ids=["manifest", "plain"],
)
def test_a_deployed_stylesheet_is_fetched_anew_and_nothing_else_is(
    own_site: Site, open_window: OpenWindow
) -> None:
    window = open_window(own_site)
    before = files_of(window, "/about/")
    plain = window.style("h1", "letter-spacing")

    own_site.deploy({CSS: NEW_CSS})
    after = files_of(window, "/about/")

    assert window.style("h1", "letter-spacing") == "7px" != plain
    assert after["css"].cache_id != before["css"].cache_id
    assert after["css"].cache_control == before["css"].cache_control
    assert not after["css"].is_from_cache
    for kind in ("js", "svg"):
        assert after[kind].cache_id == before[kind].cache_id
        assert after[kind].is_from_cache
