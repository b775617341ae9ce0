"""The page on the admin describes what exists."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Group, Permission

from cachelayers.admin import SCREENS
from cachelayers.admin.changelists import MOST_ROWS, SAME_MOMENT
from cachelayers.admin.forms import InvalidateForm
from tests.environment import PROJECT

PAGE = (PROJECT / "docs" / "admin.md").read_text(encoding="utf-8")


@pytest.mark.django_db
def test_the_example_gives_a_group_just_these_permissions() -> None:
    [block] = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

    exec(block, {})

    given = Group.objects.get(name="editors").permissions.values_list("codename", flat=True)
    assert set(given) == {"invalidate_entries", "view_overview", "view_invalidation"}


@pytest.mark.django_db
def test_every_permission_on_the_page_exists_and_every_screens_is_on_it() -> None:
    [table] = re.findall(r"^\| permission of .*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"`(\w+)`", table)) - {"cachelayers"}

    found = Permission.objects.filter(content_type__app_label="cachelayers", codename__in=named)

    assert set(found.values_list("codename", flat=True)) == named
    assert {each for screen in SCREENS.values() for each in screen.permissions} <= named


def test_every_screen_is_on_the_page() -> None:
    for model in SCREENS:
        assert f"| {str(model._meta.verbose_name).capitalize()} |" in PAGE


def test_every_field_that_a_link_may_choose_is_one() -> None:
    names = re.findall(r"`\?(\w+)=", PAGE)

    assert set(names) == set(InvalidateForm.base_fields)


def test_the_figures_on_the_page_are_those_of_the_code() -> None:
    assert f"More than {MOST_ROWS} selected rows" in PAGE
    assert SAME_MOMENT.total_seconds() == 5
    assert "within five seconds" in PAGE


def test_every_picture_is_there_and_small() -> None:
    pictures = re.findall(r"\]\((images/[^)]*)\)", PAGE)

    assert len(pictures) == len(set(pictures)) >= 6
    for picture in pictures:
        assert 1_000 < (PROJECT / "docs" / picture).stat().st_size < 60_000, picture
