"""The additions to the pages of tracked models: an action on the list, a button on a row's page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.test import Client
from pytest_django import Settings

from cachelayers import recall, unit_of_work
from cachelayers.admin import changelists, register_screens
from cachelayers.admin.changelists import ACTION, offer_on_tracked_models
from cachelayers.models import Invalidation
from testproject.airports.models import Country
from tests.admin.conftest import LogIn, messages_of
from tests.library.models import Author, Untracked

if TYPE_CHECKING:
    AuthorAdminBase = admin.ModelAdmin[Author]
else:
    AuthorAdminBase = admin.ModelAdmin

LIST = "/admin/airports/country/"


@pytest.fixture
def countries() -> list[Country]:
    rows = [Country(code=code, name=name) for code, name in (("FR", "France"), ("FJ", "Fiji"))]
    return Country.objects.bulk_create(rows)


def name_of(code: str, made: list[str]) -> str:
    """Return a country's name from the cache; record if it had to be computed."""

    def make() -> str:
        made.append(code)
        return Country.objects.get(pk=code).name

    with unit_of_work():
        return recall(f"country:{code}", make)


def actions_of(response: Any) -> list[str]:
    return [name for name, _ in response.context["action_form"].fields["action"].choices if name]


# The action


def test_the_action_is_on_the_lists_of_tracked_models_only(
    boss: Client, countries: list[Country]
) -> None:
    Group.objects.create(name="editors")

    tracked, untracked = boss.get(LIST), boss.get("/admin/auth/group/")

    assert ACTION in actions_of(tracked)
    assert "Invalidate cached entries of the selected countries" in tracked.content.decode()
    assert ACTION not in actions_of(untracked)


def test_the_action_is_there_for_who_may_invalidate_only(
    log_in: LogIn, countries: list[Country]
) -> None:
    editor = log_in("airports.view_country", "airports.delete_country")
    keeper = log_in("airports.view_country", "cachelayers.invalidate_entries", name="bob")
    sent = {"action": ACTION, "_selected_action": ["FR"]}

    assert actions_of(editor.get(LIST)) == ["delete_selected"]
    editor.post(LIST, sent)
    assert not LogEntry.objects.exists()

    assert actions_of(keeper.get(LIST)) == [ACTION]
    keeper.post(LIST, sent)
    assert LogEntry.objects.get().object_repr == "row airports.Country FR"


@pytest.mark.django_db(transaction=True)
def test_the_action_invalidates_the_selected_rows_and_no_others(
    boss: Client, countries: list[Country]
) -> None:
    made: list[str] = []
    for code in ("FR", "FJ"):
        name_of(code, made)
    made.clear()

    response = boss.post(LIST, {"action": ACTION, "_selected_action": ["FR"]}, follow=True)

    for code in ("FR", "FJ"):
        name_of(code, made)
    assert made == ["FR"]
    assert messages_of(response) == ["Cached entries of 1 country are invalid now."]


def test_of_very_many_rows_the_whole_table_is_invalidated(
    boss: Client, countries: list[Country], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changelists, "MOST_ROWS", 1)
    before = Invalidation.objects.count()

    sent = {"action": ACTION, "_selected_action": ["FR", "FJ"]}
    response = boss.post(LIST, sent, follow=True)

    assert messages_of(response) == ["Cached entries of all countries are invalid now."]
    tags = Invalidation.objects.order_by("id").values_list("tag", flat=True)[before:]
    assert set(tags) == {"table:airports_country", "rows:airports_country"}


def test_a_list_without_actions_stays_without() -> None:
    class Plain(AuthorAdminBase):
        actions = None

    model_admin = site_with(Author, Plain)

    assert model_admin.actions is None


def test_an_action_of_the_same_name_stays_the_projects_own() -> None:
    class Own(AuthorAdminBase):
        actions = [ACTION]

        def invalidate_cached_entries(self, *arguments: Any) -> None:
            """Do something else."""

    model_admin = site_with(Author, Own)

    assert model_admin.actions == [ACTION]


def test_each_is_offered_once_however_often_the_addresses_are_made() -> None:
    class Plain(AuthorAdminBase):
        pass

    model_admin = site_with(Author, Plain)
    render = model_admin.render_change_form
    offer_on_tracked_models(model_admin.admin_site)

    assert len(model_admin.actions) == 1
    assert model_admin.render_change_form is render
    assert vars(admin.ModelAdmin)["actions"] == ()
    assert "actions" not in vars(Plain)


def test_a_site_of_the_projects_own_offers_them_too() -> None:
    site = admin.AdminSite(name="own")
    register_screens(site)
    site.register([Author, Untracked])

    assert site.urls

    assert site._registry[Author].actions
    assert not site._registry[Untracked].actions


def test_djangos_checks_find_nothing_wrong_with_the_action(settings: Settings) -> None:
    class Plain(AuthorAdminBase):
        pass

    assert site_with(Author, Plain).check() == []


def site_with(model: Any, model_admin: Any) -> Any:
    """Return the registered ModelAdmin of a new site, after its URLs were made."""
    site = admin.AdminSite(name="own")
    site.register(model, model_admin)
    offer_on_tracked_models(site)
    return site._registry[model]


# The button


def button_of(client: Client, url: str) -> str | None:
    response = client.get(url)
    assert response.status_code == 200
    return (response.context_data or {}).get("invalidate_url")


def test_the_button_on_a_rows_page_leads_to_what_it_will_touch(
    boss: Client, countries: list[Country]
) -> None:
    response = boss.get(f"{LIST}FR/change/")

    url = response.context["invalidate_url"]
    assert f'<a href="{url}" class="cl-invalidate-link">' in response.content.decode()
    assert "History" in response.content.decode()
    assert "this row (France)" in boss.get(url).content.decode()
    assert not LogEntry.objects.exists()


def test_the_button_is_there_for_who_may_invalidate_and_on_tracked_models_only(
    boss: Client, log_in: LogIn, countries: list[Country]
) -> None:
    group = Group.objects.create(name="editors")
    editor = log_in("airports.change_country")

    assert button_of(boss, f"/admin/auth/group/{group.pk}/change/") is None
    assert button_of(boss, f"{LIST}add/") is None
    assert button_of(editor, f"{LIST}FR/change/") is None
    assert "Save" in editor.get(f"{LIST}FR/change/").content.decode()


def test_a_template_of_the_projects_own_is_kept(
    boss: Client, countries: list[Country], monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    own = "{% extends 'admin/change_form.html' %}{% block form_top %}our own words{% endblock %}"
    loaders = [
        ("django.template.loaders.locmem.Loader", {"admin/airports/change_form.html": own}),
        "django.template.loaders.app_directories.Loader",
    ]
    [configured] = settings.TEMPLATES
    options = {**configured["OPTIONS"], "loaders": loaders}
    settings.TEMPLATES = [{**configured, "APP_DIRS": False, "OPTIONS": options}]

    content = boss.get(f"{LIST}FR/change/").content.decode()

    assert "our own words" in content
    assert "cl-invalidate-link" in content


def test_a_key_that_is_odd_in_an_address_survives_the_button(boss: Client) -> None:
    Country.objects.create(code="&#", name="Nowhere")

    url = boss.get(f"{LIST}_26_23/change/").context["invalidate_url"]

    assert "this row (Nowhere)" in boss.get(url).content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_rows_page_tells_how_many_entries_are_made_from_it(
    boss: Client, countries: list[Country], log_in: LogIn
) -> None:
    name_of("FR", [])

    france, fiji = (boss.get(f"{LIST}{code}/change/") for code in ("FR", "FJ"))
    editor = log_in("airports.view_country", "cachelayers.invalidate_entries")

    assert "1 entry is made from it" in france.content.decode()
    assert "entries/?alias=memory&amp;row=airports.Country+FR" in france.content.decode()
    assert "0 entries are made from it" in fiji.content.decode()
    assert "made from it" not in editor.get(f"{LIST}FR/change/").content.decode()
