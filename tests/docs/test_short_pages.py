"""The examples of the shorter pages do what the pages show, and their settings pass the checks."""

from __future__ import annotations

import re
import unittest
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.template import Template
from django.test import TestCase
from pytest_django import Settings

from cachelayers import unit_of_work
from cachelayers.checks import cache_messages
from cachelayers.test_runs import OwnStatements
from cachelayers.testing import caching
from tests.docs.test_recall_pages import blocks_of
from tests.environment import PROJECT
from tests.library.models import Author, Book
from tests.settings import database_cache, layered_cache, memory_cache

SETTINGS_PAGES = ["../README.md", "coming_from.md", "install.md", "which_layers.md"]


@pytest.mark.parametrize(
    "page",
    [
        "dependencies.md",
        "django_redis.md",
        "integrations.md",
        "pages.md",
        "single_flight.md",
        "units_of_work.md",
        "variants.md",
        "what_it_changes.md",
    ],
)
def test_the_example_runs_as_shown(page: str, transactional_db: None) -> None:
    cache.clear()
    shown: dict[str, Any] = {
        "__name__": "example",
        "Author": Author,
        "Book": Book,
        "unit_of_work": unit_of_work,
    }
    blocks = blocks_of(page)
    assert blocks

    for block in blocks:
        exec(block, shown)


def test_the_example_of_layers_runs_as_shown(transactional_db: None, settings: Settings) -> None:
    settings.CACHES = {
        "default": layered_cache("memory", "database", bus="log"),
        "memory": memory_cache(),
        "database": database_cache("default"),
    }
    [block] = blocks_of("layers.md")

    exec(block, {})


def test_the_tests_of_the_page_on_tests_pass(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OwnStatements, "are_counted", False)  # as in a user's tests
    shown: dict[str, Any] = {"__name__": "example", "Author": Author, "Book": Book}
    with_clock = [block for block in blocks_of("testing.md") if "time_machine" in block]
    for block in blocks_of("testing.md"):
        if block not in with_clock:
            exec(block, shown)
    result = unittest.TestResult()

    unittest.defaultTestLoader.loadTestsFromTestCase(shown["TitleTests"]).run(result)
    with caching():
        shown["test_the_second_call_computes_nothing"](None)
    assert (result.testsRun, result.errors, result.failures) == (2, [], [])

    for block in with_clock:
        exec(block, shown)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(shown["ExpiryTests"]).run(result)
    assert (result.testsRun, result.errors, result.failures) == (1, [], [])


LOCMEM = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}


@pytest.mark.parametrize("configured", [memory_cache(), LOCMEM], ids=["ours", "django's"])
def test_the_line_of_the_page_on_tests_empties_the_cache(
    transactional_db: None, settings: Settings, configured: dict[str, Any]
) -> None:
    settings.CACHES = {"default": configured}
    shown: dict[str, Any] = {"TestCase": TestCase, "__name__": "example"}
    [block] = [block for block in blocks_of("testing.md") if "cache.clear()" in block]
    exec(block, shown)

    class Earlier(TestCase):
        def test_somebody_is_greeted(self) -> None:
            cache.set("greeted", "Ann")

    with_line = shown["GreetingTests"]
    without = type("WithoutTheLine", (with_line,), {"setUp": lambda self: None})
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    for case, failures in ((without, 1), (with_line, 0)):
        result = unittest.TestResult()
        unittest.TestSuite([load(Earlier), load(case)]).run(result)
        assert (result.testsRun, result.errors, len(result.failures)) == (2, [], failures)


@pytest.mark.parametrize("page", SETTINGS_PAGES)
def test_the_caches_pass_the_checks(page: str, settings: Settings) -> None:
    shown: dict[str, Any] = {"BASE_DIR": Path("/srv")}
    for block in blocks_of(page):
        if "CACHES = " in block:
            exec(block, shown)
    settings.CACHES = shown["CACHES"]

    messages = list(cache_messages())

    assert [message for message in messages if message.is_serious()] == []


def test_the_examples_of_the_readme_are_valid() -> None:
    shown: dict[str, Any] = {"BASE_DIR": Path("/srv"), "__name__": "airports.queries"}
    for block in blocks_of("../README.md"):
        exec(block, shown)
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    [template] = re.findall(r"^```\n({% load .*?)^```$", text, re.MULTILINE | re.DOTALL)

    assert shown["busiest"].key("FR").startswith("airports.queries.busiest:")
    assert Template(template).nodelist
