"""All screens: permissions, and rules for every page."""

from __future__ import annotations

import time
from html.parser import HTMLParser
from io import StringIO

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from cachelayers import recall
from cachelayers.admin import SCREENS, register_screens
from cachelayers.models import Statistic
from cachelayers.statistics import flush
from tests.admin.conftest import SECTION, LogIn, entry_url, said
from tests.library.models import Author
from tests.settings import layered_cache

NEEDED = {
    "overview": ["view_overview"],
    "invalidate": ["invalidate_entries", "clear_caches"],
    "warmers": ["view_warmers"],
    "log": ["view_invalidation"],
    "entries": ["view_entry"],
    "advice": ["view_advice"],
}
PAIRS = [(screen, permission) for screen, some in NEEDED.items() for permission in some]
EVERY = sorted({permission for some in NEEDED.values() for permission in some})


def filled_screens(client: Client) -> list[str]:
    """Return the URLs of every page of the section, with some contents on each."""
    author = Author.objects.create(name="Ada")
    recall("filled", lambda: Author.objects.get(pk=author.pk).name, tags=["shelf"])
    cache.get("nothing")
    flush()
    client.post(f"{SECTION}invalidate/", {"words": "shelf", "aliases": "default", "confirm": "1"})
    recall("filled", lambda: Author.objects.get(pk=author.pk).name, tags=["shelf"])
    done = client.get(f"{SECTION}log/").context["rows"]
    notes = {author.url for _, author in done if author and author.url}
    return [
        "/admin/",
        "/admin/cachelayers/",
        *(f"{SECTION}{screen}/" for screen in NEEDED),
        *(f"{SECTION}overview/?span={span}" for span in ("day", "week", "nonsense")),
        f"{SECTION}invalidate/?words=shelf&aliases=default&models=library.Author",
        f"{SECTION}invalidate/?words=shelv",
        f"{SECTION}log/?kind=word&text=shelf",
        f"{SECTION}log/?kind=nonsense",
        f"{SECTION}entries/?alias=table&text=filled",
        f"{SECTION}entries/?alias=nonsense",
        entry_url("table", "filled", client),
        *notes,
    ]


# Permissions


@pytest.mark.parametrize(("screen", "permission"), PAIRS)
def test_each_screen_is_seen_with_its_permission(
    log_in: LogIn, screen: str, permission: str
) -> None:
    response = log_in(f"cachelayers.{permission}").get(f"{SECTION}{screen}/")

    assert response.status_code == 200


@pytest.mark.parametrize("screen", NEEDED)
def test_no_screen_is_seen_with_the_permissions_of_all_others(log_in: LogIn, screen: str) -> None:
    others = [permission for permission in EVERY if permission not in NEEDED[screen]]
    client = log_in(*(f"cachelayers.{permission}" for permission in others))

    for method in (client.get, client.post):
        assert method(f"{SECTION}{screen}/").status_code == 403


@pytest.mark.parametrize("screen", NEEDED)
def test_who_is_not_logged_in_is_asked_to(client: Client, screen: str) -> None:
    response = client.get(f"{SECTION}{screen}/")

    assert response.status_code == 302
    assert response["Location"].startswith("/admin/login/")


def test_the_index_lists_what_the_user_may_see_and_no_more(log_in: LogIn) -> None:
    client = log_in("cachelayers.view_invalidation", "cachelayers.view_overview")

    [section] = client.get("/admin/").context["app_list"]

    assert section["name"] == "Cache"
    assert [model["name"] for model in section["models"]] == ["Overview", "Log"]
    assert all(model["admin_url"] for model in section["models"])


def test_who_may_see_nothing_of_it_has_no_section(log_in: LogIn) -> None:
    assert log_in("airports.view_country").get("/admin/").context["app_list"][0]["name"] != "Cache"
    assert log_in(name="bob").get("/admin/cachelayers/").status_code in {403, 404}


def test_every_permission_of_the_section_is_one_that_can_be_given() -> None:
    given = Permission.objects.filter(content_type__app_label="cachelayers")

    names = set(given.values_list("codename", flat=True))

    assert {*EVERY, "view_values", "run_warmers"} <= names


def test_a_screen_is_never_kept_by_a_browser_or_a_proxy(boss: Client) -> None:
    for screen in NEEDED:
        assert "no-store" in boss.get(f"{SECTION}{screen}/")["Cache-Control"]


def test_another_admin_site_can_have_the_section(boss: Client) -> None:
    site = admin.AdminSite(name="other")

    register_screens(site)

    assert set(site._registry) == set(SCREENS)


def test_dumping_all_data_finds_no_screen_without_a_table() -> None:
    dumped = StringIO()

    call_command("dumpdata", stdout=dumped)

    assert "cachelayers.overview" not in dumped.getvalue()


# Rules for every page


class Page(HTMLParser):
    """Finds violations of a strict content security policy, and tables that are not accessible."""

    def __init__(self) -> None:
        super().__init__()
        self.forbidden: list[str] = []
        self.tables = self.captions = 0
        self.headings: list[dict[str, str | None]] = []
        self.posts = self.tokens = 0
        self._in_cache = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self._in_cache |= attributes.get("class") == "cachelayers"
        if tag == "style" or (tag == "script" and "src" not in attributes):
            self.forbidden.append(tag)
        self.forbidden += [name for name in attributes if name == "style" or name[:2] == "on"]
        self.forbidden += [name for name, value in attrs if "javascript:" in (value or "")]
        self.posts += tag == "form" and attributes.get("method") == "post"
        self.tokens += attributes.get("name") == "csrfmiddlewaretoken"
        if self._in_cache:
            self.tables += tag == "table"
            self.captions += tag == "caption"
            if tag == "th":
                self.headings.append(attributes)


@pytest.mark.django_db(transaction=True)
def test_no_page_holds_a_script_or_a_style_and_every_form_has_a_token(boss: Client) -> None:
    for url in filled_screens(boss):
        page = Page()

        page.feed(boss.get(url).content.decode())

        assert page.forbidden == [], url
        assert page.posts == page.tokens, url


@pytest.mark.django_db(transaction=True)
def test_every_table_has_a_caption_and_every_heading_a_scope(boss: Client) -> None:
    tables = 0
    for url in filled_screens(boss):
        page = Page()

        page.feed(boss.get(url).content.decode())

        assert page.tables == page.captions, url
        assert all(heading.get("scope") in {"row", "col"} for heading in page.headings), url
        tables += page.tables
    assert tables > 10


def test_no_page_names_a_database_password_or_that_of_a_cache(
    boss: Client, settings: Settings
) -> None:
    location = "redis://user:hunter2@127.0.0.1:1/0"
    down = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": location}
    settings.CACHES = {**settings.CACHES, "away": down}

    pages = [
        boss.get(f"{SECTION}overview/"),
        boss.get(f"{SECTION}entries/", {"alias": "away", "text": ""}),
        boss.get(f"{SECTION}invalidate/", {"aliases": "away"}),
        boss.post(f"{SECTION}invalidate/", {"aliases": "away", "confirm": "1"}, follow=True),
    ]

    for page in pages:
        assert page.status_code == 200
        assert "hunter2" not in page.content.decode()
    assert "redis://***@127.0.0.1:1/0" in said(pages[0])


@pytest.mark.parametrize(
    "location", ["redis://:hun/ter2@host/1", "redis://host/?nonsense=1", "http://host/"]
)
def test_an_address_that_its_client_cannot_read_is_told_on_every_screen(
    boss: Client, settings: Settings, location: str
) -> None:
    wrong = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": location}
    settings.CACHES = {
        **settings.CACHES,
        "wrong": wrong,
        "stack": layered_cache("memory", "wrong"),
    }

    overview = said(boss.get(f"{SECTION}overview/"))
    entries = said(boss.get(f"{SECTION}entries/", {"alias": "wrong"}))
    cleared = {"aliases": ["wrong", "stack"]}
    preview = said(boss.get(f"{SECTION}invalidate/", cleared))
    done = boss.post(f"{SECTION}invalidate/", {**cleared, "confirm": "1"}, follow=True)

    for text in (overview, entries, preview, said(done)):
        assert "wrong" in text
        assert "ter2" not in text
    assert overview.count("fails") == 2
    assert "Error: " in entries
    assert "not done" in said(done)


def test_the_pages_are_the_same_in_a_language_that_writes_numbers_with_a_comma(
    boss: Client, settings: Settings
) -> None:
    settings.LANGUAGE_CODE, settings.USE_THOUSAND_SEPARATOR = "de", True
    minute = int(time.time()) // 60 * 60
    Statistic.objects.create(minute=minute, cache="default", layer="memory", misses=1200)

    content = boss.get(f"{SECTION}overview/").content.decode()

    rectangles = content.split("<rect")[1:]
    assert rectangles
    assert not any("," in part.partition("/>")[0] for part in rectangles)
    assert "1.200" in content


def test_what_is_not_there_is_not_found(boss: Client) -> None:
    for path in ("overview/add/", "log/1/change/", "invalidate/nobody/change/", "entries/1/"):
        assert boss.get(f"{SECTION}{path}").status_code == 404, path
