"""Permissions that a user object got before this unit of work must not be used on a page."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.test import override_settings

from cachelayers import cached, unit_of_work
from cachelayers.invalidation.reports import reports
from tests.fragments.conftest import Counter, NewRequest
from tests.fragments.engines import Templates

BODY = "{{ tick__ }}{{ perms.library.change_book }}"


@pytest.fixture(autouse=True)
def tracked_permissions() -> Iterator[None]:
    tracked = [*settings.CACHELAYERS["TRACK"], "auth.Permission"]
    with override_settings(CACHELAYERS={**settings.CACHELAYERS, "TRACK": tracked}):
        reports.clear()
        yield


@pytest.fixture
def held(users: list[User]) -> User:
    """Return a user object held by a consumer, whose permission was removed since."""
    user = users[0]
    user.user_permissions.add(Permission.objects.get(codename="change_book"))
    with unit_of_work():
        assert user.has_perm("library.change_book")
    User.objects.get(pk=user.pk).user_permissions.clear()
    return user


@pytest.fixture
def page(templates: Templates) -> Templates:
    templates.write(page=templates.fragment(BODY.replace("__", templates.call), "card"))
    return templates


def test_a_page_with_old_permissions_is_not_kept(
    page: Templates,
    new_request: NewRequest,
    held: User,
    tick: Counter,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def shown(user: User) -> str:
        request = new_request(held)
        request.user = user
        with unit_of_work(request), caplog.at_level(logging.WARNING, "cachelayers.invalidation"):
            return page.render("page", request, tick=tick)

    assert [shown(held), shown(User.objects.get(pk=held.pk))] == ["True", "False"]
    assert [record.message for record in caplog.records if "cached permissions" in record.message]


def test_a_page_that_has_asked_for_permissions_before_keeps_its_hits(
    page: Templates, new_request: NewRequest, held: User, tick: Counter
) -> None:
    def shown() -> str:
        request = new_request(held)
        with unit_of_work(request):
            assert not request.user.has_perm("library.change_book")
            return page.render("page", request, tick=tick)

    assert [shown(), shown()] == ["False", "False"]
    assert tick.since() == 1


@cached
def may_change(user: User) -> bool:
    return user.has_perm("library.change_book")


def test_what_a_cached_function_makes_of_old_permissions_is_not_kept(held: User) -> None:
    assert [may_change(held), may_change(User.objects.get(pk=held.pk))] == [True, False]
