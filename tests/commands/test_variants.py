"""Pages by language and header, and never for a user."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import pytest
from django.core.cache import cache, caches
from pytest_django import Settings

from cachelayers import warmer
from cachelayers.warming.clients import make_variants
from tests.commands.runs import RunCommand
from tests.commands.small_site.records import Records

pytestmark = pytest.mark.usefixtures("no_warmers", "small_site")
COMMON = "django.middleware.common.CommonMiddleware"
LOCALE = "django.middleware.locale.LocaleMiddleware"
MIDDLEWARES = "tests.commands.small_site.middleware"


def register(*urls: str) -> None:
    @warmer("pages")
    def pages() -> Iterable[str]:
        yield from urls


def stored_keys() -> list[str]:
    stored: dict[str, bytes] = cast(Any, caches["default"])._cache
    return list(stored)


def sent(site: Records, name: str) -> list[Any]:
    return [request.headers.get(name) for request in site.requests]


def test_each_page_is_warmed_in_each_language(
    run: RunCommand, small_site: Records, settings: Settings
) -> None:
    settings.MIDDLEWARE = [LOCALE, COMMON]
    register("/page/1/", "/page/2/")

    result = run("warm_cache", "--language=fr", "--language=de")

    assert small_site.paths == ["/page/1/", "/page/1/", "/page/2/", "/page/2/"]
    assert sent(small_site, "Accept-Language") == ["fr", "de"] * 2
    assert cache.get("language-and-zone")[0] == "de"
    assert "4 warmed" in result.out
    assert result.err == ""


def test_a_page_in_the_page_cache_is_another_one_in_each_language(
    run: RunCommand, small_site: Records, settings: Settings
) -> None:
    settings.MIDDLEWARE = [LOCALE, COMMON]
    register("/kept/1/")
    run("warm_cache", "--language=fr")

    result = run("warm_cache", "--language=fr", "--language=de")

    assert "1 warmed, 1 already warm" in result.out


def test_an_unknown_language_is_an_error_with_similar_names(run: RunCommand) -> None:
    register("/page/1/")

    result = run("warm_cache", "--language=fe")

    assert result.message.startswith("There is no language in LANGUAGES 'fe'. Did you mean")


def test_a_language_that_nothing_reads_is_noted(run: RunCommand) -> None:
    register("/page/1/")

    result = run("warm_cache", "--language=fr")

    assert "LocaleMiddleware is not in MIDDLEWARE" in result.err


def test_a_header_is_sent_with_each_page_and_in_place_of_the_usual_one(
    run: RunCommand, small_site: Records
) -> None:
    register("/page/1/")

    run("warm_cache", "--header=X-Market: north", "--header=accept-encoding: br")

    assert sent(small_site, "X-Market") == ["north"]
    assert sent(small_site, "Accept-Encoding") == ["br"]


def test_values_of_one_header_are_variants_and_headers_are_combined(
    run: RunCommand, small_site: Records
) -> None:
    register("/page/1/")

    result = run(
        "warm_cache", "-v2", "--header=A: 1", "--header=B: 2", "--header=A: 3", "--header=A: 1"
    )

    assert [(one.headers["A"], one.headers["B"]) for one in small_site.requests] == [
        ("1", "2"),
        ("3", "2"),
    ]
    assert "warmed: /page/1/ [A: 3, B: 2]" in result.out


def test_without_languages_and_headers_there_is_one_plain_variant() -> None:
    [variant] = make_variants([], [])

    assert variant.headers == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Cookie: sessionid=1", "Cookie identifies a user, and pages of users are never"),
        ("authorization: Basic x", "identifies a user"),
        ("X-Remote-User: me", "identifies a user"),
        ("Host: elsewhere.example", "Host is not for you to choose"),
        ("Content-Length: 5", "is not for you to choose"),
        ("no colon", "is no header. Write it 'Name: value'"),
        (": value", "is no header"),
        ("Two Words: value", "is no header"),
        ("Name: first\r\nCookie: a=b", "is no header"),
        ("Name\n: value", "is no header"),
    ],
)
def test_a_header_that_may_not_be_sent_is_refused(run: RunCommand, text: str, reason: str) -> None:
    result = run("warm_cache", f"--header={text}")

    assert reason in result.message


# Users


@pytest.mark.parametrize("middleware", ["SomebodyMiddleware", "LazySomebodyMiddleware"])
def test_a_page_that_is_made_for_a_user_is_a_failure(
    run: RunCommand, settings: Settings, middleware: str
) -> None:
    settings.MIDDLEWARE = [f"{MIDDLEWARES}.{middleware}"]
    register("/greeting/")

    result = run("warm_cache")

    assert (
        "failed: /greeting/: is made for the user 'somebody', whom a middleware logs in"
        in result.err
    )


@pytest.mark.parametrize("middleware", ["SomebodyMiddleware", "LazySomebodyMiddleware"])
def test_nothing_of_a_page_that_is_made_for_a_user_gets_into_the_cache(
    run: RunCommand, settings: Settings, middleware: str
) -> None:
    settings.MIDDLEWARE = [f"{MIDDLEWARES}.{middleware}"]
    register("/greeting/")

    run("warm_cache")

    assert not [key for key in stored_keys() if "greeting" in key]


def test_a_page_of_a_user_who_is_known_beforehand_is_not_even_rendered(
    run: RunCommand, small_site: Records, settings: Settings
) -> None:
    settings.MIDDLEWARE = [f"{MIDDLEWARES}.SomebodyMiddleware"]
    register("/greeting/")

    run("warm_cache")

    assert small_site.paths == []


def test_a_page_of_nobody_is_warmed(
    run: RunCommand, small_site: Records, settings: Settings
) -> None:
    settings.MIDDLEWARE = [f"{MIDDLEWARES}.NobodyMiddleware"]
    register("/greeting/")

    result = run("warm_cache")

    assert "1 warmed, 0 already warm, 0 failed" in result.out
    assert small_site.paths == ["/greeting/"]
    assert [key for key in stored_keys() if "greeting" in key]


def test_a_page_that_asks_no_user_is_kept_where_clients_find_it(
    run: RunCommand, small_site: Records, settings: Settings
) -> None:
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    register("/kept/1/")

    run("warm_cache")

    # Looking for the user in the session would have made it `Vary: Cookie`.
    [request] = small_site.requests
    assert not request.session.accessed
