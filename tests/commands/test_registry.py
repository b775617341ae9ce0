"""@warmer: what may be registered, and how it is found."""

import sys
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest
from django.test.utils import override_settings

from cachelayers.warming import Target, registered_warmers, warmer

pytestmark = pytest.mark.usefixtures("no_warmers")


def test_a_warmer_is_found_by_its_name() -> None:
    @warmer("front page", every=60)
    def front_page() -> Iterable[str]:
        return ["/"]

    found = registered_warmers()["front page"]

    assert found.function is front_page
    assert found.every_seconds == 60
    assert found.defined_at.startswith(f"{__name__}:")


def test_the_decorated_function_stays_what_it_was() -> None:
    def front_page() -> Iterable[str]:
        return ["/"]

    assert warmer("front page")(front_page) is front_page


def test_a_name_taken_by_another_function_is_an_error_that_names_both() -> None:
    warmer("front page")(one_page)

    with pytest.raises(ValueError, match=r"Two warmers are named 'front page'.*Rename one"):
        warmer("front page")(another_page)


def test_a_function_may_be_registered_again_as_a_reloaded_module_does() -> None:
    warmer("front page")(make_warmer())
    warmer("front page", every=5)(make_warmer())

    assert registered_warmers()["front page"].every_seconds == 5


@pytest.mark.parametrize(
    ("every", "seconds"), [("2h30m", 9_000), (timedelta(minutes=5), 300), (0.5, 0.5), (None, None)]
)
def test_an_interval_is_a_duration(every: Any, seconds: float | None) -> None:
    warmer("front page", every=every)(make_warmer())

    assert registered_warmers()["front page"].every_seconds == seconds


@pytest.mark.parametrize(
    ("name", "every", "error", "message"),
    [
        ("", None, TypeError, "Give it a name"),
        (None, None, TypeError, "Give it a name"),
        ("pages", 0, ValueError, "must be above 0"),
        ("pages", -5, ValueError, "must be above 0"),
        ("pages", float("nan"), ValueError, "must be above 0"),
        ("pages", "daily", TypeError, "every='daily' is no duration. Give a number of seconds, a"),
        ("pages", "60", TypeError, "every='60' is no duration"),
        ("pages", True, TypeError, "every=True is no duration"),
        ("pages", timedelta(0), ValueError, "must be above 0"),
    ],
)
def test_a_bad_name_or_interval_is_refused(
    name: Any, every: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        warmer(name, every=every)


def test_the_decorator_without_its_name_says_what_is_missing() -> None:
    decorator: Any = warmer

    with pytest.raises(TypeError, match="Give it a name"):
        decorator(one_page)


async def returns_asynchronously() -> list[str]:
    return []


async def yields_asynchronously() -> AsyncIterator[str]:
    yield "/"


def needs_an_argument(country: str) -> list[str]:
    return [country]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (yields_asynchronously, "async function"),
        (returns_asynchronously, "async function"),
        (needs_an_argument, "with arguments"),
        ("no function", "is no function"),
    ],
)
def test_what_cannot_be_called_without_arguments_is_refused(function: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        warmer("pages")(function)


def test_a_target_takes_its_parts_by_name_only() -> None:
    target: Any = Target

    with pytest.raises(TypeError):
        target("key", int)


def make_warmer() -> Callable[[], Iterable[str]]:
    """A new function with the same module and name each time."""

    def pages() -> Iterable[str]:
        return ["/"]

    return pages


def one_page() -> Iterable[str]:
    return ["/"]


def another_page() -> Iterable[str]:
    return ["/other/"]


class TestDiscovery:
    @pytest.fixture(autouse=True)
    def _small_site_not_imported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "tests.commands.small_site.warmers", raising=False)

    def test_warmers_of_installed_apps_are_found_without_importing_them(self) -> None:
        with override_settings(INSTALLED_APPS=["tests.commands.small_site"]):
            assert "squares" in registered_warmers()
