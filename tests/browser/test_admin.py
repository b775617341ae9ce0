"""What an editor saves in the admin, a reader sees at once."""

from __future__ import annotations

import pytest

from tests.browser.conftest import OpenWindow
from tests.browser.site import Site
from tests.browser.window import Window

pytestmark = pytest.mark.browser

VISITS = 6  # so that both of the site's workers have answered, as far as chance allows


def log_in(window: Window, name: str = "demo") -> None:
    """Log in as somebody whose password is the name."""
    window.open("/admin/")
    window.fill("#id_username", name)
    window.fill("#id_password", name)
    window.follow("#login-form [type=submit]")


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
    editor.open("/admin/airports/airport/?q=LFLJ")
    editor.follow("#result_list th.field-name a")

    editor.fill("#id_name", "Courchevel Altiport")
    editor.follow("[name=_save]")

    assert "was changed successfully" in editor.text(".messagelist")
    shown = []
    for _ in range(VISITS):
        reader.open("/airport/LFLJ/")
        shown.append(reader.text("h1"))
    assert before == "Courchevel"
    assert set(shown) == {"Courchevel Altiport"}
    for path in ("/", "/country/FR/", "/search/?q=courchevel"):
        reader.open(path)
        assert "Courchevel Altiport" in reader.text("main")
