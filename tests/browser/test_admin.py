"""Changes in the admin are visible to readers at once."""

from __future__ import annotations

import pytest

from tests.browser.conftest import OpenWindow
from tests.browser.site import Site
from tests.browser.window import Window

pytestmark = pytest.mark.browser

ROW = "airports/airport_row.html"
VISITS = 6  # enough to reach both workers of the site, very probably


def log_in(window: Window, name: str = "demo") -> None:
    """Log in as a user whose password is the name."""
    window.open("/admin/")
    window.fill("#id_username", name)
    window.fill("#id_password", name)
    window.follow("#login-form [type=submit]")


def rename_airport(editor: Window, icao: str, name: str) -> None:
    editor.open(f"/admin/airports/airport/?q={icao}")
    editor.follow("#result_list th.field-name a")
    editor.fill("#id_name", name)
    editor.follow("[name=_save]")
    assert "was changed successfully" in editor.text(".messagelist")


def test_the_admin_opens_for_the_demo_user_and_nothing_in_it_breaks(window: Window) -> None:
    log_in(window)

    assert "Site administration" in window.text("h1")
    for path in ("/admin/airports/airport/", "/admin/pages/page/add/"):
        window.open(path)
        assert "demo" in window.text("#user-tools").lower()


def test_an_airport_that_an_editor_renames_shows_at_once_to_a_reader(
    own_site: Site, open_window: OpenWindow
) -> None:
    editor, reader = open_window(own_site), open_window(own_site)
    for _ in range(VISITS):
        reader.open("/airport/LFLJ/")
    before = reader.text("h1")
    log_in(editor)

    rename_airport(editor, "LFLJ", "Courchevel Altiport")

    shown = []
    for _ in range(VISITS):
        reader.open("/airport/LFLJ/")
        shown.append(reader.text("h1"))
    assert before == "Courchevel"
    assert set(shown) == {"Courchevel Altiport"}
    for path in ("/", "/country/FR/", "/search/?q=courchevel"):
        reader.open(path)
        assert "Courchevel Altiport" in reader.text("main")


def test_an_edit_renders_one_row_of_a_list_and_the_others_are_hits(
    own_site: Site, open_window: OpenWindow
) -> None:
    editor, reader = open_window(own_site), open_window(own_site)
    log_in(editor)

    def show_list() -> list[str]:
        own_site.take_renders()
        for _ in range(VISITS):
            reader.open("/country/FR/")
        return own_site.take_renders()

    first, again = show_list(), show_list()
    rename_airport(editor, "LFLJ", "Courchevel Altiport")
    after = show_list()

    assert "Courchevel Altiport" in reader.text("#airports")
    assert len(reader.attributes("#airports tbody tr", "class")) == 3
    rendered = ("airports/country.html", "airports/country_rows.html", ROW)
    assert first.count(ROW) >= 3
    assert [again.count(name) for name in rendered] == [VISITS, 0, 0]
    assert [after.count(name) for name in rendered] == [VISITS, 1, 1]


def test_who_may_edit_an_airport_is_led_to_it_and_nobody_else_is(
    own_site: Site, open_window: OpenWindow
) -> None:
    """The link is a hole in a fragment that both are shown."""
    editor, reader = open_window(own_site), open_window(own_site)
    log_in(editor)
    own_site.take_renders()

    links = []
    for window in [editor, reader] * VISITS:
        window.open("/airport/LFLJ/")
        links.append(len(window.attributes("h1 + p a.edit", "href")))
    editor.follow("a.edit")

    assert links == [1, 0] * VISITS
    assert "Courchevel" in editor.text("#content h2")
