"""Without TRACK, all models are tracked, except sessions, the admin's log and our own tables."""

from __future__ import annotations

from django.apps import apps
from django.contrib.sessions.base_session import AbstractBaseSession
from pytest_django import Settings

from cachelayers.checks import check_package_settings
from cachelayers.conf import package_settings
from cachelayers.invalidation.tracked import tracked_tables


def test_all_models_are_tracked_but_those_that_keep_the_site_s_books(settings: Settings) -> None:
    settings.CACHELAYERS = {}

    tables = set(tracked_tables("default"))

    assert {"auth_user", "django_content_type", "library_book", "library_book_subjects"} <= tables
    assert not {"django_session", "django_admin_log", "cachelayers_entry"} & tables


def test_a_project_s_own_sessions_are_not_tracked(settings: Settings) -> None:
    settings.CACHELAYERS = {"TIMEOUT": 60}
    known = apps.all_models["library"]

    class Visit(AbstractBaseSession):
        class Meta:
            app_label = "library"

    try:
        tables = set(tracked_tables("default"))
    finally:
        del known["visit"]
        apps.clear_cache()

    assert "library_book" in tables
    assert "library_visit" not in tables


def test_the_star_may_stand_alone_or_in_a_list(settings: Settings) -> None:
    settings.CACHELAYERS = {}
    by_default = tracked_tables("default")
    for track in ("*", ["*"]):
        settings.CACHELAYERS = {"TRACK": track}

        assert package_settings().TRACK == ("*",)
        assert tracked_tables("default") == by_default
        assert check_package_settings(None) == []


def test_an_empty_list_tracks_nothing_and_is_named_by_a_check(settings: Settings) -> None:
    settings.CACHELAYERS = {"TRACK": []}

    [message] = check_package_settings(None)

    assert not tracked_tables("default")
    assert message.id == "cachelayers.W058"
