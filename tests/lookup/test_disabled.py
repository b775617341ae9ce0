"""Where caching is disabled, everything is computed, and nothing is looked up or stored."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncGenerator, Generator, Iterator
from contextvars import copy_context
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.template import Context, Template
from django.test import override_settings
from pytest_django import Settings

from cachelayers import arecall, cached, disabled, invalidate, recall, unit_of_work
from cachelayers.checks import check_package_settings
from cachelayers.panels import line_of
from cachelayers.utils.switch import is_disabled, switches
from cachelayers.utils.tracing import tracing
from tests.library.models import Author

pytestmark = pytest.mark.django_db(transaction=True)
OFF = {"ENABLED": False}
calls: list[str] = []


@pytest.fixture(autouse=True)
def _empty() -> None:
    cache.clear()
    calls.clear()


def compute() -> int:
    calls.append("")
    return len(calls)


@cached(timeout=60)
def counted() -> int:
    return compute()


@cached(timeout=60)
async def counted_async() -> int:
    return compute()


def keys() -> list[Any]:
    return [key for key in ("key", counted.key()) if cache.get(key) is not None]


def test_in_a_block_nothing_is_looked_up_or_stored() -> None:
    with disabled():
        assert [recall("key", compute), recall("key", compute), counted()] == [1, 2, 3]
        assert [counted.refresh(), counted.warm(), counted.is_warm()] == [4, False, False]
    assert keys() == []

    assert [recall("key", compute), recall("key", compute)] == [5, 5]
    with disabled():
        assert recall("key", compute) == 6
    assert recall("key", compute) == 5


def test_in_async_code_too_and_as_a_decorator() -> None:
    @disabled()
    async def twice() -> list[int]:
        await asyncio.sleep(0)
        return [await arecall("key", compute), await arecall("key", compute), await counted_async()]

    @disabled()
    def once() -> int:
        """Count."""
        return recall("key", compute)

    assert asyncio.run(twice()) == [1, 2, 3]
    assert [once(), once()] == [4, 5]
    assert (once.__name__, once.__doc__) == ("once", "Count.")
    assert not switches


def test_a_decorated_generator_is_disabled_in_its_body_and_nowhere_else() -> None:
    seen: list[object] = []

    @disabled()
    def generate(first: str) -> Generator[bool, str, str]:
        """Yield."""
        seen.append(first)
        try:
            seen.append((yield is_disabled()))
            yield is_disabled()
        except KeyError:
            yield is_disabled()
        finally:
            seen.append(is_disabled())
        return "the end"

    generator = generate("begun")
    assert seen == []  # nothing has run yet
    assert (next(generator), is_disabled()) == (True, False)
    assert (generator.send("sent"), is_disabled()) == (True, False)
    assert (generator.throw(KeyError("thrown")), is_disabled()) == (True, False)
    with pytest.raises(StopIteration, match="the end"):
        next(generator)
    assert seen == ["begun", "sent", True]

    left = generate("again")
    next(left)
    left.close()
    assert seen == ["begun", "sent", True, "again", True]
    with pytest.raises(ValueError, match="unhandled"):
        generate("failing").throw(ValueError("unhandled"))
    assert inspect.isgeneratorfunction(generate)
    assert (generate.__name__, generate.__doc__) == ("generate", "Yield.")
    assert not switches


def test_a_decorated_async_generator_too() -> None:
    seen: list[object] = []

    @disabled()
    async def generate() -> AsyncGenerator[int, str]:
        try:
            seen.append((yield await arecall("key", compute)))
            await asyncio.sleep(0)
            yield await arecall("key", compute)
        except KeyError:
            yield await arecall("key", compute)
        finally:
            await asyncio.sleep(0)
            seen.append(is_disabled())

    async def steps() -> None:
        generator = generate()
        assert (await anext(generator), is_disabled()) == (1, False)
        assert (await generator.asend("sent"), is_disabled()) == (2, False)
        assert (await generator.athrow(KeyError("thrown")), is_disabled()) == (3, False)
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
        assert seen == ["sent", True]

        left = generate()
        await anext(left)
        await left.aclose()
        assert seen == ["sent", True, True]
        assert [number async for number in generate()] == [5, 6]

    asyncio.run(steps())
    assert inspect.isasyncgenfunction(generate)
    assert not switches


def test_what_a_view_streams_is_computed_within_a_decorated_generator() -> None:
    @disabled()
    def rows() -> Iterator[int]:
        for _ in range(2):
            yield recall("key", compute)

    with unit_of_work():
        served = [(number, recall("other", compute)) for number in rows()]

    assert served == [(1, 2), (3, 2)]  # the view's own recalls are cached
    assert keys() == []


def test_the_setting_disables_all_of_it(settings: Settings) -> None:
    settings.CACHELAYERS = {**settings.CACHELAYERS, **OFF}

    with unit_of_work():
        assert [recall("key", compute), recall("key", compute), counted()] == [1, 2, 3]
    assert keys() == []


def test_with_the_setting_the_log_is_not_read(
    settings: Settings, django_assert_num_queries: Any
) -> None:
    settings.CACHELAYERS = {**settings.CACHELAYERS, **OFF}

    with django_assert_num_queries(0), unit_of_work():
        recall("key", compute)


def test_fragments_are_rendered_with_their_holes() -> None:
    template = Template(
        "{% load cachelayers %}"
        "{% fragment 'card' %}{{ one }}{% uncached %}{{ two }}{% enduncached %}{% endfragment %}"
        "{% fragments 'row' for n in rows %}{{ n }}{{ one }}{% endfragments %}"
    )

    def show(one: str) -> str:
        return template.render(Context({"one": one, "two": 2, "rows": [8, 9]}))

    with unit_of_work(), disabled():
        assert [show("a"), show("b")] == ["a28a9a", "b28b9b"]


def test_a_recall_around_the_block_depends_on_what_is_read_in_it() -> None:
    author = Author.objects.create(name="Ann")

    def outer() -> str:
        with disabled():
            return recall("inner", lambda: Author.objects.get(pk=author.pk).name, tags=["names"])

    assert [recall("outer", outer), recall("outer", outer)] == ["Ann", "Ann"]
    Author.objects.filter(pk=author.pk).update(name="Anna")
    assert recall("outer", outer) == "Anna"
    assert cache.get("inner") is None

    invalidate("names")
    assert recall("outer", lambda: "again") == "again"


def test_invalidations_are_recorded(settings: Settings) -> None:
    assert recall("key", compute, tags=["front"]) == 1
    with override_settings(CACHELAYERS={**settings.CACHELAYERS, **OFF}):
        invalidate("front")
    assert recall("key", compute, tags=["front"]) == 2


def test_the_plain_cache_works_all_the_same() -> None:
    with disabled():
        cache.set("plain", 1)
        assert cache.get("plain") == 1


def test_a_block_holds_for_its_own_context_until_it_ends() -> None:
    found = []
    with disabled():
        copied = copy_context()
        thread = threading.Thread(target=lambda: found.append(is_disabled()))
        thread.start()
        thread.join()
        found.append(copied.run(is_disabled))
    with disabled():
        found.append(copied.run(is_disabled))

    assert found == [False, True, False]


def test_blocks_nest() -> None:
    block = disabled()
    with block:
        with block:
            pass
        assert is_disabled()
    assert not is_disabled()


def test_the_toolbar_says_why() -> None:
    with tracing() as trace, disabled():
        recall("key", compute)

    assert line_of(trace.recalls[0])["why"] == "caching is disabled"


def test_warm_cache_refuses(settings: Settings) -> None:
    settings.CACHELAYERS = {**settings.CACHELAYERS, **OFF}

    with pytest.raises(CommandError, match="Caching is disabled"):
        call_command("warm_cache")


def test_it_is_a_flag(settings: Settings) -> None:
    settings.CACHELAYERS = {"ENABLED": "no"}

    assert [message.id for message in check_package_settings(None)] == ["cachelayers.E014"]
    assert not is_disabled()
