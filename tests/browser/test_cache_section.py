"""The Cache section of the admin, as an operator uses it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tests.browser.conftest import OpenWindow
from tests.browser.site import Site, run
from tests.browser.test_admin import VISITS, log_in
from tests.browser.window import Window

pytestmark = pytest.mark.browser

SECTION = "/admin/cachelayers/"
SCREENS = [
    "/admin/",
    f"{SECTION}overview/?span=day",
    f"{SECTION}invalidate/",
    f"{SECTION}invalidate/?words=nobody",
    f"{SECTION}invalidate/?rows=airports.Country+FR&aliases=default",
    f"{SECTION}warmers/",
    f"{SECTION}log/",
    f"{SECTION}entries/?alias=database&text=country",
    f"{SECTION}advice/",
    "/admin/airports/country/FR/change/",
    "/admin/airports/country/",
    f"{SECTION}entries/?alias=database&row=airports.Country+FR",
]
# Our parts of Django's own pages.
PARTS = {
    "/admin/": ".app-cachelayers",
    "/admin/airports/country/FR/change/": ".object-tools",
    "/admin/airports/country/": ".actions",
}
STAFF = """
from django.contrib.auth.models import Permission, User
user = User.objects.create_user("ann", password="ann", is_staff=True)
names = ["view_country", "invalidate_entries", "view_invalidation"]
user.user_permissions.set(Permission.objects.filter(codename__in=names))
"""


def look_around(window: Window) -> None:
    """Put something into the caches and the statistics."""
    for path in ("/", "/country/FR/", "/airport/LFLJ/"):
        window.open(path)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 400)])
def test_every_screen_is_without_errors_and_barriers_and_no_wider_than_its_window(
    window: Window, scheme: str, width: int
) -> None:
    look_around(window)
    window.show_as(scheme=scheme, width=width)
    log_in(window)

    for path in SCREENS:
        window.open(path)
        part = ".cachelayers" if SECTION in path else PARTS[path]
        assert window.find_barriers(part) == [], path
        assert window.take_troubles() == [], path
        if SECTION in path:
            window.wait_for("document.documentElement.scrollWidth <= window.innerWidth")

    window.open(SCREENS[7])
    window.follow(".cachelayers tbody a")
    assert window.find_barriers(".cachelayers") == []


def change_behind_the_back(site: Site, name: str) -> None:
    """Rename a country without a trigger noticing it."""
    with closing(sqlite3.connect(site.data / "site.sqlite3", timeout=20)) as connection:
        found = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?",
            ["airports_country"],
        )
        for (trigger,) in found.fetchall():
            connection.execute(f'DROP TRIGGER "{trigger}"')
        connection.execute("UPDATE airports_country SET name = ? WHERE code = 'FR'", [name])
        connection.commit()


def names_shown(reader: Window) -> set[str]:
    """Return the headings of a country's page from both workers of the site."""
    shown = set()
    for _ in range(VISITS):
        reader.open("/country/FR/")
        shown.add(reader.text("h1"))
    return shown


def test_a_countrys_pages_are_invalidated_with_the_button_and_change_at_once(
    own_site: Site, open_window: OpenWindow
) -> None:
    keeper, reader = open_window(own_site), open_window(own_site)
    assert names_shown(reader) == {"France FR"}
    change_behind_the_back(own_site, "Gaul")
    before = names_shown(reader)
    log_in(keeper)

    keeper.open("/admin/airports/country/FR/change/")
    keeper.follow(".cl-invalidate-link")
    asked = keeper.text("#content-main")
    keeper.follow("[name=confirm]")

    assert before == {"France FR"}
    assert "airports.Country FR" in asked
    assert "were logged" in keeper.text("#content-main")
    assert names_shown(reader) == {"Gaul FR"}


def test_staff_with_some_permissions_sees_and_does_just_that(
    own_site: Site, open_window: OpenWindow
) -> None:
    run("manage.py", "shell", "-c", STAFF, variables=own_site.variables)
    keeper, reader = open_window(own_site), open_window(own_site)
    names_shown(reader)
    change_behind_the_back(own_site, "Gaul")
    log_in(keeper, "ann")

    listed = [keeper.text(f"#cachelayers-{name}") for name in ("invalidate", "log")]
    others = keeper.attributes("tr[class*=model-overview], tr[class*=model-entries]", "class")
    keeper.open("/admin/airports/country/")
    keeper.click("[name=_selected_action][value=FR]")
    keeper.choose("[name=action]", "invalidate_cached_entries")
    keeper.follow("[name=index]")

    assert listed == ["Invalidate", "Log"]
    assert others == []
    assert keeper.text(".messagelist") == "Cached entries of 1 country are invalid now."
    assert names_shown(reader) == {"Gaul FR"}
    keeper.open(f"{SECTION}log/")
    assert "ann" in keeper.text("#content-main")
    keeper.open(f"{SECTION}overview/")
    keeper.wait_for_trouble("403")


def test_a_warmer_is_run_and_watched_without_loading_the_page_again(
    own_site: Site, open_window: OpenWindow
) -> None:
    window = open_window(own_site)
    log_in(window)
    window.open(f"{SECTION}warmers/")
    assert "has ended" not in window.text("#cl-runs")

    window.follow("input[value='cms pages'] + button")
    window.driver.execute_script("window.isTheSame = true")
    window.wait_for("document.getElementById('cl-runs').textContent.includes('has ended')")

    assert "has been started" in window.text(".messagelist")
    assert window.driver.execute_script("return window.isTheSame") is True
    assert "3 of 3" in window.text("#cl-runs")


def test_it_works_without_scripts_and_by_keyboard(own_site: Site, open_window: OpenWindow) -> None:
    from selenium.webdriver.common.keys import Keys

    window = open_window(own_site)
    look_around(window)
    window.switch_scripts_off()
    window.open("/admin/")
    window.fill("#id_username", "demo")
    window.fill("#id_password", "demo")
    window.press(Keys.ENTER)
    window.wait_for_text("Site administration")

    window.open(f"{SECTION}invalidate/?rows=airports.Country+FR")
    window.tab_to("confirm")
    window.press(Keys.ENTER)

    window.wait_for_text("What came of it")
    assert "row airports.Country FR" in window.text("#content-main")
