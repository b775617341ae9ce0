"""Signals are sent for each entry that is computed, and for each one found invalid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import caches
from django.dispatch import Signal

from cachelayers import recall, unit_of_work
from cachelayers.signals import entry_computed, entry_invalidated
from tests.library.models import Author

pytestmark = pytest.mark.django_db(transaction=True)


class Heard:
    """The arguments of a signal's calls."""

    def __init__(self, signal: Signal) -> None:
        self.said: list[dict[str, Any]] = []
        self._signal = signal
        signal.connect(self.hear)

    def hear(self, sender: Any, signal: Signal, **said: Any) -> None:
        self.said.append(said)

    def stop(self) -> None:
        self._signal.disconnect(self.hear)


@pytest.fixture
def computed() -> Iterator[Heard]:
    heard = Heard(entry_computed)
    yield heard
    heard.stop()


@pytest.fixture
def invalidated() -> Iterator[Heard]:
    heard = Heard(entry_invalidated)
    yield heard
    heard.stop()


def names() -> list[str]:
    caches["sqlite"].get("warm")
    return list(Author.objects.order_by("name").values_list("name", flat=True))


def test_an_entry_that_is_computed_is_reported_with_what_it_was_made_from(computed: Heard) -> None:
    caches["sqlite"].clear()

    for _ in range(2):
        recall("names", names, using="sqlite")

    [said] = computed.said
    assert (said["alias"], said["key"], said["is_storable"]) == ("sqlite", "names", True)
    assert ("default", "table:library_author") in said["tags"]
    assert 0 < said["seconds"] < 30


def test_an_entry_that_is_found_invalid_is_reported_with_the_tag_that_has_changed(
    invalidated: Heard,
) -> None:
    caches["sqlite"].clear()
    recall("names", names, using="sqlite")
    Author.objects.create(name="Ann")

    with unit_of_work():
        assert recall("names", names, using="sqlite") == ["Ann"]

    # A cache that is its own only layer is looked up twice.
    assert invalidated.said[0] == {
        "alias": "sqlite",
        "key": "names",
        "database": "default",
        "tag": "table:library_author",
    }


def test_a_receiver_that_raises_is_no_error_of_the_caller(computed: Heard) -> None:
    caches["sqlite"].clear()

    def raise_anyway(**kwargs: Any) -> None:
        raise ValueError("what a receiver does")

    entry_computed.connect(raise_anyway)
    try:
        assert recall("names", lambda: 1, using="sqlite") == 1
    finally:
        entry_computed.disconnect(raise_anyway)
