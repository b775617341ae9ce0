"""Fragments that depend on the language or the time zone have variants for it; others do not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta
from datetime import timezone as fixed
from functools import partial
from typing import Any

import pytest
from asgiref.local import Local
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.test import RequestFactory
from django.utils import timezone, translation
from django.utils.translation import gettext, trans_real

from cachelayers.compat import LANGUAGE
from cachelayers.fragments.variants import TrackedHolder
from tests.fragments.conftest import Counter, NewRequest
from tests.fragments.engines import DjangoTemplates, Templates
from tests.fragments.views import counted


def test_a_block_that_is_translated_is_kept_for_each_language(
    templates: Templates, tick: Counter
) -> None:
    templates.write(page=counted(templates, templates.show("translated")))

    def translated() -> str:
        return gettext("Yes")

    shown = []
    for language in ("en", "de", "fr") * 2:
        with translation.override(language):
            shown.append(templates.render("page", tick=tick, translated=translated))

    assert shown == ["Yes", "Ja", "Oui"] * 2
    assert tick.since() == 3


def test_a_block_that_is_translated_below_a_fragment_within_it_is_kept_for_each_language(
    templates: Templates, tick: Counter
) -> None:
    inner = templates.fragment("{{ n }}", "inner", "n")
    body = inner + templates.show("translated") + templates.show("tick")
    templates.write(page=templates.fragment(body, "outer"))

    def shown(language: str) -> str:
        with translation.override(language):
            return templates.render("page", n=1, translated=lambda: gettext("Yes"), tick=tick)

    assert [shown(language) for language in ("en", "de", "fr") * 2] == ["1Yes", "1Ja", "1Oui"] * 2
    assert tick.since() == 3


@pytest.mark.parametrize("is_list", [False, True])
def test_a_fragment_around_one_that_is_kept_for_each_language_is_kept_so_too(
    templates: Templates, is_list: bool
) -> None:
    """This process knows the key of the inner one, but not of the outer one."""
    body = templates.show("translated")
    templates.write(
        part=templates.fragments(body, "row", "n in numbers")
        if is_list
        else templates.fragment(body, "name"),
        page='{% include "part.html" %}',
        outer=templates.fragment('{% include "part.html" %}', "outer"),
    )

    def shown(page: str, language: str) -> str:
        with translation.override(language):
            return templates.render(page, numbers=[1], translated=lambda: gettext("Yes"))

    for language in ("en", "de") * 2:
        shown("page", language)

    assert [shown("outer", language) for language in ("en", "de") * 2] == ["Yes", "Ja"] * 2


def test_a_number_is_written_as_the_language_does(tick: Counter) -> None:
    templates = DjangoTemplates()
    templates.write(page=counted(templates, "{{ number }}"))
    shown = []

    for language in ("en", "de") * 2:
        with translation.override(language):
            shown.append(templates.render("page", tick=tick, number=1.5))

    assert shown == ["1.5", "1,5"] * 2


def test_a_block_without_words_is_shared_by_all_languages(
    templates: Templates, tick: Counter
) -> None:
    templates.write(page=counted(templates, "x"))

    for language in ("en", "de"):
        with translation.override(language):
            templates.render("page", tick=tick)

    assert tick.since() == 1


def test_a_time_is_written_in_the_active_time_zone(templates: Templates, tick: Counter) -> None:
    templates.write(page=counted(templates, templates.show("hour")))
    now = timezone.now().replace(hour=12)

    def hour() -> str:
        return str(timezone.localtime(now).hour)

    shown = []
    for zone in ("UTC", "Asia/Tokyo") * 2:
        with timezone.override(zone):
            shown.append(templates.render("page", tick=tick, hour=hour))

    assert shown == ["12", "21"] * 2
    assert tick.since() == 2


def test_user_and_language_are_told_together(
    templates: Templates, new_request: NewRequest, tick: Counter, users: list[User]
) -> None:
    templates.write(page=counted(templates, "{{ user.username }}" + templates.show("translated")))
    visits = [(user, language) for user in users for language in ("en", "de")]

    shown = []
    for user, language in visits * 2:
        with translation.override(language):
            shown.append(
                templates.render(
                    "page", new_request(user), tick=tick, translated=lambda: gettext("Yes")
                )
            )

    assert shown == ["annYes", "annJa", "bobYes", "bobJa"] * 2
    assert tick.since() == 4


@pytest.mark.parametrize("name", ["LANGUAGE_CODE", "request.LANGUAGE_CODE", "LANGUAGE_BIDI"])
def test_the_language_that_a_name_holds_is_in_the_key(
    templates: Templates, rf: RequestFactory, name: str
) -> None:
    """As set by the context processor and LocaleMiddleware."""
    templates.write(page=templates.fragment(f"{{{{ {name} }}}}", "card"))

    def shown(language: str) -> str:
        with translation.override(language):
            request: Any = rf.get("/")
            request.LANGUAGE_CODE = language
            request._messages = []
            return templates.render(
                "page",
                request,
                LANGUAGE_CODE=language,
                LANGUAGE_BIDI=translation.get_language_bidi(),
            )

    assert shown("en") != shown("ar")


def test_the_time_zone_that_a_name_holds_is_in_the_key(templates: Templates) -> None:
    templates.write(page=templates.fragment("{{ TIME_ZONE }}", "card"))
    shown = []
    for zone in ("UTC", "Asia/Tokyo"):
        with timezone.override(zone):
            given: dict[str, Any] = {"TIME_ZONE": zone}
            shown.append(templates.render("page", **given))

    assert shown == ["UTC", "Asia/Tokyo"]


def test_time_zones_of_one_name_are_distinguished(templates: Templates) -> None:
    templates.write(page=templates.fragment(templates.show("hour"), "card"))
    now = timezone.now().replace(hour=12)
    shown = []
    for hours in (0, 2):
        with timezone.override(fixed(timedelta(hours=hours), "local")):
            shown.append(templates.render("page", hour=lambda: str(timezone.localtime(now).hour)))

    assert shown == ["12", "14"]


def test_a_block_that_changes_the_language_is_kept_for_the_one_it_began_with(
    templates: Templates,
) -> None:
    templates.write(
        page=templates.fragment(templates.show("word") + templates.show("german"), "card")
    )

    def german() -> str:
        translation.activate("de")
        return ""

    def shown(language: str) -> str:
        with translation.override(language):
            return templates.render("page", word=lambda: gettext("Yes"), german=german)

    assert [shown("en"), shown("de")] == ["Yes", "Ja"]


def test_a_block_that_changes_the_time_zone_is_kept_for_the_one_it_began_with(
    templates: Templates,
) -> None:
    body = templates.show("hour") + templates.show("tokyo")
    templates.write(page=templates.fragment(body, "card"))
    noon = timezone.now().replace(hour=12)

    def tokyo() -> str:
        timezone.activate("Asia/Tokyo")
        return ""

    def shown(zone: str) -> str:
        with timezone.override(zone):
            return templates.render(
                "page", hour=lambda: str(timezone.localtime(noon).hour), tokyo=tokyo
            )

    assert [shown("UTC"), shown("Asia/Tokyo")] == ["12", "21"]


# The wrapped objects continue to work


def test_a_language_that_was_activated_can_be_left(templates: Templates) -> None:
    templates.write(page=templates.fragment("x", "card"))
    templates.render("page")

    before = translation.get_language()
    with translation.override("de", deactivate=True):
        within = translation.get_language()

    assert (within, translation.get_language()) == ("de", before)


def test_the_active_language_is_looked_at_through_one_object_however_many_are_rendered(
    templates: Templates,
) -> None:
    templates.write(page=templates.fragment("x", "card", timeout="0"))

    for _ in range(3):
        templates.render("page")

    modules: list[Any] = [trans_real, timezone]
    for module in modules:
        holder = module._active
        assert isinstance(holder, TrackedHolder)
        assert not isinstance(holder._holder, TrackedHolder)


class Twins:
    """The active value in Django's own object and in the wrapped one; both get the same calls."""

    def __init__(self) -> None:
        self._plain: Any = Local()
        self._noted = TrackedHolder(Local(), LANGUAGE)

    def activate(self, value: str) -> None:
        self._plain.value = self._noted.value = value

    def deactivate(self) -> None:
        del self._plain.value
        del self._noted.value

    def look(self) -> str:
        """Return the active value, twice, because the second read takes a shorter way."""
        held = getattr(self._plain, "value", "nothing")
        assert [getattr(self._noted, "value", "nothing") for _ in range(2)] == [held, held]
        return str(held)

    def turn_to(self, value: str) -> tuple[str, str]:
        before = self.look()
        self.activate(value)
        return before, self.look()


def in_thread(function: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def test_what_is_active_is_the_same_through_the_object_in_each_thread_and_context() -> None:
    twins = Twins()
    assert twins.look() == "nothing"
    assert twins.turn_to("de") == ("nothing", "de")

    assert in_thread(partial(twins.turn_to, "fr")) == ("nothing", "fr")
    assert twins.look() == "de"
    in_thread(partial(copy_context().run, twins.turn_to, "fr"))
    assert twins.look() == "de"
    copied = copy_context()
    assert copied.run(twins.turn_to, "it") == ("de", "it")
    assert copied.run(twins.look) == "it"
    assert twins.look() == "de"
    twins.deactivate()
    assert twins.look() == "nothing"
    assert copied.run(twins.look) == "it"


def test_what_is_active_is_the_same_through_the_object_in_tasks_and_their_threads() -> None:
    twins = Twins()
    seen = []

    async def show(language: str) -> None:
        twins.activate(language)
        await asyncio.sleep(0)
        seen.append(twins.look())
        # A value that code in a thread activates stays active after it.
        assert await sync_to_async(twins.turn_to)(language.upper()) == (language, language.upper())
        seen.append(twins.look())
        await sync_to_async(twins.deactivate)()
        seen.append(twins.look())

    async def show_two() -> None:
        await asyncio.gather(show("de"), show("fr"))
        seen.append(twins.look())

    async_to_sync(show_two)()

    assert sorted(seen) == sorted(["de", "fr", "DE", "FR", "nothing", "nothing", "nothing"])
    assert twins.look() == "nothing"
