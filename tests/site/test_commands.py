"""The site's other commands: measuring, and the login of the demo."""

from __future__ import annotations

from io import StringIO

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.core.cache import cache
from django.core.management import CommandError, call_command


def output_of(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db(transaction=True)  # the end of a request closes what is in a transaction
@pytest.mark.usefixtures("atlas", "page")
def test_measuring_prints_one_table_in_which_warm_pages_ask_once() -> None:
    lines = output_of("measure_pages", "--runs", "1").splitlines()

    table = [line for line in lines if line.endswith("x")]
    assert [line.split("  ")[0].split(" (")[0] for line in table] == [
        "world",
        "country, large",
        "country, small",
        "airport",
        "CMS page",
        "search",
    ]
    assert {line.split()[-3] for line in table} == {"1"}
    assert all(int(line.split()[-5]) > 0 for line in table)
    assert len({len(line) for line in table}) == 1


@pytest.mark.django_db(transaction=True)  # the end of a request closes what is in a transaction
@pytest.mark.usefixtures("atlas", "page")
def test_measuring_leaves_what_the_cache_holds() -> None:
    cache.set("readers", "page")

    output_of("measure_pages", "--runs", "1")

    assert cache.get("readers") == "page"


@pytest.mark.usefixtures("empty_cache")
def test_measuring_an_empty_site_says_what_to_run_first() -> None:
    with pytest.raises(CommandError, match="load_airports"):
        output_of("measure_pages")


def test_measuring_refuses_no_runs() -> None:
    with pytest.raises(CommandError, match="--runs is 0"):
        output_of("measure_pages", "--runs", "0")


@pytest.mark.django_db
def test_the_demo_user_is_made_once_and_can_log_in() -> None:
    first, second = output_of("create_demo_user"), output_of("create_demo_user")

    user = authenticate(username="demo", password="demo")
    assert user is not None
    assert user.is_active
    assert "127.0.0.1 only" in first
    assert "there already" in second
    assert get_user_model().objects.filter(is_superuser=True).count() == 1
