"""Every error in a page is recorded, so that a test without errors means something."""

from __future__ import annotations

import pytest

from tests.browser.conftest import OpenWindow
from tests.browser.site import Site
from tests.browser.window import Window

pytestmark = pytest.mark.browser

INLINE_SCRIPT = """
const script = document.createElement("script");
script.textContent = "document.title = 'inline'";
document.head.append(script);
"""
WRONG_INTEGRITY = """
const link = document.querySelector("link[rel=stylesheet]").cloneNode();
link.integrity = "sha384-" + "A".repeat(64);
document.head.append(link);
"""


WHAT_GOES_WRONG = {
    "console.error('one word')": "one word",
    "console.warn('another')": "another",
    "setTimeout(() => { throw new Error('a third') })": "a third",
    "fetch('/nowhere/at-all/')": "404",
    "fetch('http://127.0.0.1:1/').catch(() => {})": "Content Security Policy",
    INLINE_SCRIPT: "Content Security Policy",
    WRONG_INTEGRITY: "integrity",
}


def test_what_goes_wrong_in_a_page_is_recorded(window: Window) -> None:
    for done, noticed in WHAT_GOES_WRONG.items():
        window.open("/about/")
        assert window.take_troubles() == []

        window.driver.execute_script(done)

        window.wait_for_trouble(noticed)
        window.driver.get("about:blank")  # ends the follow-up errors
        window.take_troubles()


def test_a_window_has_never_seen_a_page_before(
    read_only_site: Site, open_window: OpenWindow
) -> None:
    windows = [open_window(read_only_site) for _ in range(2)]

    for window in windows:
        window.open("/about/")

    for window in windows:
        first = {file.path: file for file in reversed(window.take_fetched(least=4))}
        assert len(first) > 3
        assert not any(file.is_from_cache for file in first.values())
