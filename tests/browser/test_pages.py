"""The pages of the demo: their files have ids and integrity, and there are no errors."""

from __future__ import annotations

import pytest

from tests.browser.window import Window

pytestmark = pytest.mark.browser

PATHS = ["/", "/country/FR/", "/airport/LFPG/", "/search/?q=paris", "/about/"]
LEAST_FILES = 3  # of each page: a stylesheet, a script and the logo
IMMUTABLE = "public, max-age=31536000, immutable"


@pytest.mark.parametrize("path", PATHS)
def test_what_a_page_loads_has_an_id_is_checked_and_kept_for_ever(
    window: Window, path: str
) -> None:
    window.open(path)

    page, *files = window.take_fetched(least=1 + LEAST_FILES)
    assert page.cache_id == ""
    assert len(files) >= LEAST_FILES
    assert all(len(file.cache_id) == 32 for file in files)
    assert {(file.status, file.cache_control) for file in files} == {(200, IMMUTABLE)}
    stylesheets = window.attributes("link[rel=stylesheet]", "integrity")
    scripts = window.attributes("script", "integrity")
    assert len(stylesheets) == len(scripts) == 1
    assert all(str(value).startswith("sha384-") for (value,) in stylesheets + scripts)
    assert_files_are_in_use(window)


def assert_files_are_in_use(window: Window) -> None:
    """Check that neither was refused: the stylesheet sets the width, the script its functions."""
    assert window.style("main", "max-width") != "none"
    window.wait_for("typeof searchWhileTyping === 'function'")


def test_a_page_that_is_not_there_is_shown_with_its_picture(window: Window) -> None:
    window.open("/nowhere/at-all/")

    page, *files = window.take_fetched(least=1 + LEAST_FILES + 1)  # the picture
    assert page.status == 404
    assert "No runway here" in window.text("h1")
    assert {file.status for file in files} == {200}
    assert any(file.path.startswith("/static/site/lost.") and file.cache_id for file in files)
    (trouble,) = window.take_troubles()
    assert "404" in trouble


def test_files_that_nobody_has_do_not_take_the_page_with_them(window: Window) -> None:
    window.open("/lost-files/")

    assert window.text("h1") == "Still here"
    assert_files_are_in_use(window)
    lost = [file for file in window.take_fetched(least=1 + LEAST_FILES + 3) if file.status != 200]
    assert {(file.path, file.cache_id) for file in lost} == {
        ("/static/..%2Fsettings.py", "ERROR_INVALID_PATH"),
        ("/static/site/nowhere.png", "ERROR_MISSING_FILE"),
        ("/static/site/", "ERROR_IS_DIRECTORY"),
    }
    assert {(file.status, file.cache_control) for file in lost} == {(404, "no-store")}
    troubles = window.take_troubles()
    # The browser reports that it is not a stylesheet, and not its status.
    assert any("site/lost.css?cache_id=ERROR_MISSING_FILE" in trouble for trouble in troubles)
    assert not any("integrity" in trouble for trouble in troubles)


def test_a_list_is_sorted_filtered_and_searched_while_typing(window: Window) -> None:
    window.open("/country/FR/")
    first = "#airports tbody tr:not([hidden]) th"

    window.click("#airports thead th:nth-child(3) button")
    highest = window.text(first)
    window.fill("#airport-filter", "orly")
    filtered = window.text(first)
    window.open("/search/")
    window.fill("#q", "schiph")
    window.wait_for("document.querySelector('#results').textContent.includes('Schiphol')")

    assert highest.startswith("Courchevel")
    assert filtered.startswith("Paris-Orly")
    assert window.driver.current_url.endswith("/search/?q=schiph")
