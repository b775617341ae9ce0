"""recall_many and @cached_many: one read, one computation of what is missing, one write."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.core.cache import caches
from django.db import transaction
from django.test import override_settings

from cachelayers import (
    arecall_many,
    cached_many,
    disabled,
    invalidate,
    recall,
    recall_many,
    unit_of_work,
)
from tests.conftest import empty_cache
from tests.library.models import Author, Book
from tests.state import reset

pytestmark = pytest.mark.django_db(transaction=True)

ALIASES = ["memory", "sqlite_shared", "memory_table"]
asked: list[list[Any]] = []


@pytest.fixture(params=ALIASES)
def alias(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[str]:
    name = str(request.param)
    with override_settings(CACHELAYERS={**settings.CACHELAYERS, "ALIAS": name}):
        empty_cache(name)
        asked.clear()
        reset("invalidation.reports.reports")
        yield name


@pytest.fixture
def table(transactional_db: None) -> Iterator[None]:
    with override_settings(CACHELAYERS={**settings.CACHELAYERS, "ALIAS": "sqlite_shared"}):
        empty_cache("sqlite_shared")
        asked.clear()
        reset("invalidation.reports.reports")
        yield


def upper(keys: list[str]) -> dict[str, str]:
    asked.append(keys)
    return {key: key.upper() for key in keys}


def names(ids: list[str]) -> dict[str, str]:
    asked.append(ids)
    authors = Author.objects.filter(pk__in=[int(one) for one in ids])
    return {str(author.pk): author.name for author in authors}


@cached_many(timeout=60, tags=lambda one, suffix="": [f"author {one}"])
def names_of(ids: list[int], suffix: str = "") -> Mapping[int, str]:
    asked.append(ids)
    return {author.pk: author.name + suffix for author in Author.objects.filter(pk__in=ids)}


@cached_many
async def names_async(ids: list[int]) -> dict[int, str]:
    asked.append(ids)
    return {author.pk: author.name async for author in Author.objects.filter(pk__in=ids)}


def test_only_missing_keys_are_computed_and_all_are_stored(alias: str) -> None:
    assert recall_many(["a", "b"], upper) == {"a": "A", "b": "B"}
    assert recall_many(["c", "a", "c"], upper) == {"c": "C", "a": "A"}
    assert recall_many(["a", "b", "c"], upper) == {"a": "A", "b": "B", "c": "C"}

    assert asked == [["a", "b"], ["c"]]
    assert recall("a", lambda: "not computed") == "A"
    assert recall_many([], upper) == {}


def test_what_the_computation_read_belongs_to_each_value(alias: str) -> None:
    ann, bob = (Author.objects.create(name=name) for name in ("Ann", "Bob"))
    keys = [str(ann.pk), str(bob.pk)]
    assert list(recall_many(keys, names).values()) == ["Ann", "Bob"]

    Author.objects.filter(pk=ann.pk).update(name="Anne")

    assert list(recall_many(keys, names).values()) == ["Anne", "Bob"]
    assert asked == [keys, keys]
    assert list(recall_many(keys, names).values()) == ["Anne", "Bob"]
    assert len(asked) == 2


def test_in_async_code(alias: str) -> None:
    async def compute(keys: list[str]) -> dict[str, str]:
        return await sync_to_async(upper)(keys)

    async def ask() -> list[dict[str, str]]:
        with unit_of_work():
            first = await arecall_many(["a", "b"], compute)
            return [first, await arecall_many(["a", "b", "c"], upper)]

    assert async_to_sync(ask)() == [{"a": "A", "b": "B"}, {"a": "A", "b": "B", "c": "C"}]
    assert asked == [["a", "b"], ["c"]]


def test_cached_many_by_ids_and_arguments(alias: str) -> None:
    ann, bob = (Author.objects.create(name=name) for name in ("Ann", "Bob"))

    assert names_of([ann.pk]) == {ann.pk: "Ann"}
    assert names_of([bob.pk, ann.pk]) == {bob.pk: "Bob", ann.pk: "Ann"}
    assert list(names_of(iter([bob.pk, ann.pk]), suffix="")) == [bob.pk, ann.pk]
    assert names_of([ann.pk], "!") == {ann.pk: "Ann!"}

    assert asked == [[ann.pk], [bob.pk], [ann.pk]]


def test_cached_many_async(alias: str) -> None:
    ann = Author.objects.create(name="Ann")

    async def ask() -> list[dict[int, str]]:
        return [await names_async([ann.pk]), await names_async([ann.pk])]

    assert async_to_sync(ask)() == [{ann.pk: "Ann"}] * 2
    assert asked == [[ann.pk]]


def test_invalidations_of_one_id_a_tag_and_all(table: None) -> None:
    ann, bob = (Author.objects.create(name=name) for name in ("Ann", "Bob"))
    pks = [ann.pk, bob.pk]
    names_of(pks)

    names_of.invalidate([ann.pk])
    names_of(pks)
    invalidate(f"author {bob.pk}")
    names_of(pks)
    names_of.invalidate_all()
    names_of(pks)
    invalidate(names_of)
    names_of(pks)

    assert asked == [pks, [ann.pk], [bob.pk], pks, pks]
    assert caches["sqlite_shared"].get(names_of.key(ann.pk)) is not None
    assert names_of.uncached(pks) == {ann.pk: "Ann", bob.pk: "Bob"}


def test_a_recall_around_it_depends_on_each_value(table: None) -> None:
    ann = Author.objects.create(name="Ann")

    def outer() -> str:
        return recall("outer", lambda: ",".join(names_of([ann.pk]).values()))

    assert outer() == "Ann"
    invalidate(f"author {ann.pk}")
    Author.objects.filter(pk=ann.pk).update(name="Anne")

    assert outer() == "Anne"
    names_of.invalidate([ann.pk])
    outer()
    assert len(asked) == 3


def test_keys_that_are_left_out_are_not_in_the_result_and_none_is_stored(table: None) -> None:
    def some(keys: list[str]) -> dict[str, None]:
        asked.append(keys)
        return {key: None for key in keys if key != "absent"}

    assert recall_many(["absent", "none"], some) == {"none": None}
    assert recall_many(["absent", "none"], some) == {"none": None}
    assert asked == [["absent", "none"], ["absent"]]


def test_nothing_is_shared_of_a_transaction_that_has_written(table: None) -> None:
    with transaction.atomic():
        ann = Author.objects.create(name="Ann")
        assert names_of([ann.pk]) == {ann.pk: "Ann"}
        assert names_of([ann.pk]) == {ann.pk: "Ann"}
        transaction.set_rollback(True)

    assert len(asked) == 2
    assert names_of([ann.pk]) == {}


def test_when_caching_is_disabled_all_is_computed(table: None) -> None:
    recall_many(["a"], upper)
    with disabled():
        assert recall_many(["a", "b"], upper) == {"a": "A", "b": "B"}

    assert asked == [["a"], ["a", "b"]]
    recall_many(["b"], upper)
    assert asked[2:] == [["b"]]


def test_a_failed_refresh_serves_the_stale_values(
    table: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(keys: list[str]) -> dict[str, str]:
        raise ZeroDivisionError

    recall_many(["a", "b"], upper, timeout=60, stale=60)
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 90)

    assert recall_many(["a", "b"], fail, timeout=60, stale=60) == {"a": "A", "b": "B"}
    assert "its refresh failed" in caplog.text
    with pytest.raises(ZeroDivisionError):
        recall_many(["a", "c"], fail, timeout=60, stale=60)


def test_timeouts_may_depend_on_the_value(table: None) -> None:
    for _ in range(2):
        recall_many(["a", "b"], upper, timeout=lambda value: 60 if value == "A" else 0)

    assert asked == [["a", "b"], ["b"]]


def test_one_value_that_cannot_be_pickled_leaves_the_others_alone(
    table: None, caplog: pytest.LogCaptureFixture
) -> None:
    def compute(keys: list[str]) -> dict[str, Any]:
        asked.append(keys)
        return {key: threading.Lock() if key == "lock" else key for key in keys}

    for _ in range(2):
        assert recall_many(["lock", "text"], compute)["text"] == "text"

    assert asked == [["lock", "text"], ["lock"]]
    [record] = caplog.records
    assert "'lock'" in record.getMessage()


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (["A"], TypeError, "It must return a dict"),
        ({"a": 1, 5: 2}, ValueError, "returned the key 5, which it was not given"),
    ],
)
def test_answers_that_cannot_be_told_apart_are_refused(
    table: None, answer: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        recall_many(["a"], lambda keys: answer)


@cached_many
def as_list(ids: list[int]) -> Any:
    return [str(one) for one in ids]


@cached_many
def by_text(ids: list[int]) -> Any:
    return {str(one): one for one in ids}


def test_so_are_those_of_cached_many(table: None) -> None:
    with pytest.raises(TypeError, match=r"as_list\(\) returned .*dict\(zip\(ids, values\)\)"):
        as_list([1])
    with pytest.raises(ValueError, match=r"by_text\(\) returned a value for '1', which it was not"):
        by_text([1])
    with pytest.raises(TypeError, match="The keys are 'abc'"):
        recall_many("abc", upper)


def test_methods_and_functions_without_ids_are_refused() -> None:
    def method(self: Any, ids: list[int]) -> dict[int, int]:
        return {}

    def nothing() -> dict[int, int]:
        return {}

    with pytest.raises(TypeError, match="is a method: its first argument is no list of ids"):
        cached_many(method)
    with pytest.raises(TypeError, match="takes no list of ids"):
        cached_many(nothing)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="stands twice"):
        cached_many(names_of)


def test_one_read_and_one_write_for_all(
    table: None, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    operations: list[str] = []
    cache = type(caches["sqlite_shared"])
    for name in ("get", "get_many", "set", "set_many"):
        plain = getattr(cache, name)

        def note(
            self: Any, *args: Any, _name: str = name, _plain: Any = plain, **options: Any
        ) -> Any:
            operations.append(_name)
            return _plain(self, *args, **options)

        monkeypatch.setattr(cache, name, note)
    with unit_of_work():
        recall_many(["warm"], upper)
        operations.clear()
        recall_many([f"k{number}" for number in range(20)], upper)
        stored = list(operations)
        operations.clear()
        recall_many([f"k{number}" for number in range(20)], upper)

    assert stored.count("set_many") == 1
    assert "set" not in stored
    assert operations == ["get_many"]


def test_instances_are_copies_each_time(table: None) -> None:
    book = Book.objects.create(title="Ports", author=Author.objects.create(name="Ann"))

    def books(keys: list[str]) -> dict[str, Book]:
        return {
            str(pk): one for pk, one in Book.objects.in_bulk([int(key) for key in keys]).items()
        }

    first, second = (recall_many([str(book.pk)], books)[str(book.pk)] for _ in range(2))
    assert first == second
    assert first is not second
