"""A row has a key although a field wraps its value in objects."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import models
from django.test.utils import isolate_apps

from cachelayers.canonical import Unstable
from cachelayers.fragments.canonical import Canonicalizer


class Stream:
    """Like Wagtail's: the blocks, and code that is the same for all rows."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.block = threading.Lock()


class StreamField(models.TextField):  # type: ignore[type-arg]
    def from_db_value(self, value: str, *_: object) -> Stream:
        return Stream(value)

    def get_prep_value(self, value: Any) -> Any:
        return [{"text": value.text}] if isinstance(value, Stream) else value


@pytest.fixture
def model() -> Any:
    with isolate_apps("tests.library"):

        class Page(models.Model):
            body = StreamField()
            other = models.JSONField()

            class Meta:
                app_label = "library"

            def __str__(self) -> str:
                return "page"

        yield Page


def canonical_row(model: Any, body: object, other: object = None) -> str:
    row = model.from_db("default", ["id", "body", "other"], [1, body, other])
    return Canonicalizer(is_named=True).canonical_form(row)


def test_the_row_is_identified_by_what_the_field_would_store(model: Any) -> None:
    harbours = [canonical_row(model, Stream("Harbours")) for _ in range(3)]
    assert len({*harbours}) == 1
    assert canonical_row(model, Stream("Ports")) not in harbours


def test_what_the_wrapping_code_holds_is_still_told_elsewhere(model: Any) -> None:
    held = ["a"]
    stream = Stream("Harbours")
    stream.block = held  # type: ignore[assignment]
    stream.lock = threading.Lock()  # type: ignore[attr-defined]
    first = canonical_row(model, stream, held)
    held[0] = "b"
    assert canonical_row(model, stream, held) != first


def test_a_value_that_stores_nothing_plain_makes_no_key(model: Any) -> None:
    with pytest.raises(Unstable, match="body"):
        canonical_row(model, threading.Lock())
