"""A pickle is read without unpickling: what it is made of, never what it would do."""

from __future__ import annotations

import collections
import datetime as dt
import pickle
import time
from contextlib import suppress
from typing import Any

import pytest
from django.utils.safestring import mark_safe
from hypothesis import given
from hypothesis import strategies as st

from cachelayers.dashboard import stored
from cachelayers.dashboard.stored import (
    MOST_CHARACTERS,
    Construction,
    Pairs,
    Several,
    Unreadable,
    read_pickle,
    written,
)

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner)
        | st.frozensets(st.integers(), max_size=1)
    ),
    max_leaves=20,
)


def plain(found: Any) -> Any:
    """Return what was read as Python has it."""
    if isinstance(found, Pairs):
        return {plain(key): plain(value) for key, value in found.items}
    if isinstance(found, Several):
        return frozenset(map(plain, found.items))
    if isinstance(found, list | tuple):
        return type(found)(map(plain, found))
    return found


@given(value=PLAIN, protocol=st.integers(4, pickle.HIGHEST_PROTOCOL))
def test_plain_values_are_read_as_they_are(value: object, protocol: int) -> None:
    assert repr(plain(read_pickle(pickle.dumps(value, protocol)))) == repr(value)


@given(st.binary())
def test_bytes_that_are_no_pickle_are_read_or_refused_and_nothing_else(data: bytes) -> None:
    with suppress(Unreadable):
        assert isinstance(written(read_pickle(b"\x80\x05" + data)), str)


@given(value=PLAIN, cut=st.integers(1, 40))
def test_a_pickle_that_is_cut_off_is_refused(value: object, cut: int) -> None:
    data = pickle.dumps(value)

    with pytest.raises(Unreadable, match="no whole pickle"):
        read_pickle(data[: max(0, len(data) - cut)])


class Point:
    def __init__(self) -> None:
        self.x = 1


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (dt.date(2026, 1, 2), "datetime.date"),
        (collections.OrderedDict(a=1), "collections.OrderedDict"),
        (collections.deque([1]), "collections.deque"),
        (collections.defaultdict(list, {1: [2]}), "collections.defaultdict"),
        (Point(), "tests.test_pickles.Point"),
        (len, "len"),
    ],
)
def test_what_a_class_would_make_is_named(value: object, name: str, protocol: int) -> None:
    found = read_pickle(pickle.dumps(value, protocol))

    assert isinstance(found, Construction)
    assert name in written(found)


def test_the_state_of_an_object_is_shown() -> None:
    assert written(read_pickle(pickle.dumps(Point()))) == ("<tests.test_pickles.Point {'x': 1}>")


def test_a_command_in_a_pickle_is_named_and_not_run() -> None:
    found = read_pickle(b"cos\nsystem\n(S'touch /nowhere'\ntR.")

    assert written(found) == "<os.system ('touch /nowhere',)>"


def test_a_value_that_contains_itself_has_an_end() -> None:
    value: list[Any] = [1]
    value.append(value)

    text = written(read_pickle(pickle.dumps(value)))

    assert text.startswith("[1, [1, [1, ")
    assert len(text) < 1000


def test_a_small_pickle_that_unfolds_to_billions_is_written_up_to_a_length() -> None:
    value: list[Any] = []
    for _ in range(60):
        value = [value, value]

    text = written(read_pickle(pickle.dumps(value)))

    assert len(text) <= MOST_CHARACTERS + len(" ...")


def test_a_number_that_python_refuses_to_write_is_described() -> None:
    assert written([10**100_000]) == "[<a number of 332,193 bits>]"


def test_text_that_claims_to_be_safe_html_is_plain_text_when_it_is_shown() -> None:
    safe = mark_safe("<p>")

    for value in (safe, read_pickle(pickle.dumps(safe))):
        assert written(value) == "<p>"
        assert type(written(value)) is str


def test_a_pickle_of_very_many_parts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "MOST_OPERATIONS", 1_000)

    with pytest.raises(Unreadable, match="more than 1,000 parts"):
        read_pickle(pickle.dumps(list(range(2_000))))


def test_an_object_that_is_filled_in_very_many_steps_keeps_nobody_waiting() -> None:
    steps = 80_000
    began = time.process_time()

    for step in (b"K\x01a", b"K\x01K\x01s", b"(K\x01e"):
        read_pickle(b"\x80\x04cmodule\nName\n)R" + step * steps + b".")

    assert time.process_time() - began < 2  # not the square of it


def test_nothing_is_imported_for_a_pickle() -> None:
    import sys

    data = pickle.dumps(dt.date(2026, 1, 2)).replace(b"datetime", b"antigrav")

    assert "antigrav" in written(read_pickle(data))
    assert "antigrav" not in sys.modules
