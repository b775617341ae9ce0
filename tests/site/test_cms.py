"""The CMS: text becomes safe HTML, and shows as it was last saved."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import transaction
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from testproject.pages import warmers
from testproject.pages.markdown import render_markdown
from testproject.pages.models import Page
from tests.site.conftest import WARM_QUERIES


def body(client: Client, path: str = "/about/") -> str:
    return client.get(path).content.decode()


def test_a_page_shows_its_markdown_as_html(client: Client, page: Page) -> None:
    html = body(client, page.get_absolute_url())

    assert "<strong>airports</strong>" in html
    assert "<h1>About us</h1>" in html


@pytest.mark.usefixtures("page")
def test_a_page_that_was_shown_asks_the_database_only_whether_it_is_still_true(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    cold = body(client)

    with django_assert_num_queries(WARM_QUERIES):
        warm = body(client)

    assert warm == cold


@pytest.mark.django_db(transaction=True)
def test_an_edited_page_shows_at_once(client: Client, page: Page) -> None:
    assert "airports" in body(client)

    page.text = "We count *runways*."
    page.save()

    assert "<em>runways</em>" in body(client)


@pytest.mark.django_db(transaction=True)
def test_an_edit_that_is_rolled_back_never_shows_and_costs_nothing(
    client: Client, page: Page, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    before = body(client)

    with transaction.atomic():
        page.text = "Never mind."
        page.save()
        transaction.set_rollback(True)

    with django_assert_num_queries(WARM_QUERIES):
        assert body(client) == before


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("page")
def test_a_new_title_shows_in_the_menu_of_every_page(client: Client) -> None:
    other = Page.objects.create(slug="help", title="Help", text="Ask.", menu_position=2)
    assert ">Help</a>" in body(client)

    other.title = "Assistance"
    other.save()

    assert ">Assistance</a>" in body(client)


@pytest.mark.django_db(transaction=True)
def test_a_deleted_page_is_gone_at_once(client: Client, page: Page) -> None:
    body(client)

    page.delete()

    assert client.get("/about/").status_code == 404


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[click](javascript:alert(1))",
        '<a href="javascript:alert(1)">click</a>',
        "<iframe src=https://example.org></iframe>",
        "<style>body { display: none }</style>",
        '<p style="position: fixed">',
        "<form action=/admin/logout/><button>",
    ],
)
def test_nothing_in_a_page_runs_or_reaches_out_of_it(text: str) -> None:
    html = render_markdown(text)

    for danger in ("<script", "onerror", '<a href="javascript', "<iframe", "style", "<form"):
        assert danger not in html


def test_useful_html_stays() -> None:
    html = render_markdown("<details><summary>More</summary>Text</details>\n\n| a |\n|---|\n| b |")

    assert "<summary>More</summary>" in html
    assert "<td>b</td>" in html


@pytest.mark.parametrize("slug", ["admin", "search", "country"])
def test_a_page_cannot_take_the_address_of_another_part(slug: str) -> None:
    with pytest.raises(ValidationError, match="another part of the site"):
        Page(slug=slug, title="Taken", text="x").clean_fields()


@pytest.mark.django_db
def test_first_pages_are_created_once_and_edits_are_kept(client: Client) -> None:
    cache.clear()
    call_command("load_pages", verbosity=0)
    Page.objects.filter(slug="about").update(text="Mine.")

    call_command("load_pages", verbosity=0)

    assert Page.objects.get(slug="about").text == "Mine."
    assert {path: client.get(path).status_code for path in warmers.cms_pages()} == {
        "/about/": 200,
        "/caching/": 200,
        "/markdown/": 200,
    }


@pytest.mark.django_db(transaction=True)
def test_a_page_is_edited_in_the_admin_and_shows_at_once(
    admin_client: Client, client: Client, page: Page
) -> None:
    body(client)
    form = {"title": "About us", "slug": "about", "summary": "", "menu_position": "1"}

    response = admin_client.post(
        f"/admin/pages/page/{page.pk}/change/", {**form, "text": "From the *admin*."}
    )

    assert response.status_code == 302
    assert "<em>admin</em>" in body(client)
