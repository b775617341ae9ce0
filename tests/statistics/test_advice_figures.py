"""Each figure of the advice is correct, from the samples to the lines of the command."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

from cachelayers import invalidate
from cachelayers.management.commands import cache_stats
from cachelayers.models import Invalidation, Timing
from cachelayers.statistics import advice, advisor, flush
from cachelayers.statistics.writing import own_connection
from cachelayers.utils import tracing
from cachelayers.utils.tracing import Trace, TracedRecall
from tests.library.models import Author, Book
from tests.settings import database_cache, memory_cache

pytestmark = pytest.mark.django_db(transaction=True)
HOUR = 3600
AUTHORS = frozenset({("default", "library_author")})


@pytest.fixture(autouse=True)
def _all_is_timed(settings: Settings, transactional_db: None) -> None:
    Invalidation.objects.all().delete()  # rows that other tests may have left
    settings.CACHES = {"default": memory_cache(), "sqlite": database_cache("default")}
    settings.CACHELAYERS = {**settings.CACHELAYERS, "ADVISE_SAMPLE": 1.0}


def this_hour() -> int:
    return int(time.time()) // HOUR * HOUR


def timing(name: str, *, hours_ago: int = 0, **figures: Any) -> None:
    figures = {"kind": "query", "place": "", "tables": "", **figures}
    Timing.objects.create(hour=this_hour() - hours_ago * HOUR, name=name, **figures)


def done(name: str, *, arguments: int = 0, seconds: float = 1.0, **given: Any) -> None:
    """Add a sample, like the middleware."""
    given = {"place": "", "tables": frozenset(), "at": time.time(), **given}
    tracing.add_sample(tracing.Sample("query", name, arguments=arguments, seconds=seconds, **given))


def written() -> dict[str, tuple[int, int, int]]:
    """Write the samples, and return calls, repeats and changed of each."""
    flush()
    rows = Timing.objects.values_list("name", "calls", "repeats", "changed")
    return {name: (calls, repeats, changed) for name, calls, repeats, changed in rows}


@contextmanager
def without_table(model: Any) -> Iterator[None]:
    """As before the first migrate."""
    name = connection.ops.quote_name(model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {name} RENAME TO away")
        try:
            yield
        finally:
            cursor.execute(f"ALTER TABLE away RENAME TO {name}")


# From the table to the advice


def test_the_largest_saving_is_first_then_the_largest_cost() -> None:
    for name, total_us, repeated_us in [("a", 9, 1), ("b", 3, 3), ("c", 10, 1), ("d", 11, 0)]:
        timing(name, total_us=total_us, repeated_us=repeated_us)

    assert [one.name for one in advice(most=3)] == ["b", "c", "a"]


def test_samples_before_the_period_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = this_hour() + 1800.0
    for hours_ago in range(4):
        timing(f"{hours_ago} hours ago", hours_ago=hours_ago)
    monkeypatch.setattr(time, "time", lambda: now)

    names = {one.name for one in advice(2 * HOUR)}

    assert names == {"0 hours ago", "1 hours ago", "2 hours ago"}


def test_changes_are_those_of_each_table_within_the_time() -> None:
    timing("q", tables="default.library_author default.library_book")
    now = int(time.time() * 1000)
    for hours_ago in (72, 2, 0):
        at = now - hours_ago * HOUR * 1000
        Invalidation.objects.create(tag="table:library_author", at=at)

    [found] = advice()

    assert [(one.database, one.table) for one in found.changes] == [
        ("default", "library_author"),
        ("default", "library_book"),
    ]
    authors, books = found.changes
    assert (authors.times, books.times) == (2, 0)
    assert authors.last_at == datetime.fromtimestamp(now / 1000, UTC)


def test_where_the_log_cannot_be_read_nothing_is_promised() -> None:
    done("q", tables=AUTHORS)
    written()
    done("q", tables=AUTHORS)

    with without_table(Invalidation):
        assert written() == {"q": (2, 0, 1)}
        [found] = advice()

    assert found.tables == ["library_author"]
    assert found.changes == []


# From the samples to the table


def test_only_so_many_things_are_remembered_the_ones_done_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(advisor, "MOST_REMEMBERED", 2)
    for arguments in (1, 2, 1, 3, 1, 2):
        done(f"q{arguments}", arguments=arguments)

    assert written() == {"q1": (3, 2, 0), "q2": (2, 0, 0), "q3": (1, 0, 0)}


def test_only_so_many_things_are_written_at_once_the_dearest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(advisor, "MOST_SUMS", 2)
    for seconds, name in enumerate("abc"):
        done(name, seconds=seconds)

    assert set(written()) == {"b", "c"}


def test_the_last_change_of_a_table_counts() -> None:
    invalidate(Author)
    done("q", tables=AUTHORS)
    written()
    invalidate(Author)
    done("q", tables=AUTHORS)

    assert written() == {"q": (2, 0, 1)}


def test_a_change_of_long_ago_does_not_count() -> None:
    at = int(time.time() * 1000) - HOUR * 1000
    Invalidation.objects.create(tag="table:library_author", at=at)
    for _ in range(2):
        done("q", tables=AUTHORS)

    assert written() == {"q": (2, 1, 0)}


def test_any_number_of_tables_is_looked_up() -> None:
    invalidate(Author)
    tables = {("default", f"a_table_{number}") for number in range(advisor.TAGS_PER_STATEMENT)}
    one = tracing.Sample("query", "q", "", 0, 1.0, AUTHORS | tables, time.time())

    assert set(advisor.last_changes([one], own_connection)) == AUTHORS


def test_tables_are_those_that_are_known_and_the_hour_is_whole() -> None:
    done("q", tables=AUTHORS)
    done("q")
    written()

    assert Timing.objects.get().tables == "default.library_author"
    assert Timing.objects.get().hour == this_hour()


def test_samples_that_could_not_be_written_are_written_later() -> None:
    done("q")
    with without_table(Timing):
        flush()

    assert written() == {"q": (1, 0, 0)}


# From what is done to the samples


def test_a_recall_that_waited_for_another_s_value_saved_nothing() -> None:
    trace = Trace()
    for outcome in ("joined", "waited", "fresh", "computed"):
        trace.recalls.append(TracedRecall("default", outcome, 0, outcome, seconds=2.0))
    tracing.note_recalls(tracing.Work(trace))

    assert [(one.name, one.seconds, one.is_kept) for one in tracing.pending_samples] == [
        ("joined", 0.0, True),
        ("waited", 0.0, True),
        ("fresh", 2.0, True),
        ("computed", 2.0, False),
    ]


def test_a_recall_of_a_row_depends_on_its_table() -> None:
    tags = [("default", "row:library_author:42"), ("default", "word:news")]
    one = TracedRecall("default", "author:42", 0, "fresh", tags=tags)

    assert tracing.tables_of(one) == AUTHORS


@pytest.mark.parametrize(
    ("key", "kind", "name"),
    [
        ("fragment:card:0f", "fragment", "card"),
        ("fragment:a:b:0f", "fragment", "a:b"),
        ("fragment:card", "fragment", "card"),
        ("fragment", "recall", "fragment"),
        ("busiest:FR", "recall", "busiest"),
    ],
)
def test_an_entry_is_named_by_its_key_before_the_arguments(key: str, kind: str, name: str) -> None:
    assert tracing.name_of(key) == (kind, name)


def test_code_without_a_file_is_none_of_the_project() -> None:
    assert not tracing.is_of_project("<string>")


def test_a_function_began_with_its_first_query() -> None:
    work = tracing.Work(Trace())
    for at in (10.0, 20.0):
        work.queries.append(tracing.Query("q", "place", 1, 0.5, AUTHORS, at))
    tracing.note_queries(work)

    [function] = [one for one in tracing.pending_samples if one.kind == "function"]
    assert (function.at, function.seconds) == (10.0, 1.0)


def test_a_query_is_named_by_its_text_and_its_place_is_a_whole_function() -> None:
    def titles() -> list[str]:
        return list(Book.objects.filter(pk__in=[1, 2]).values_list("title", flat=True))

    with tracing.sampling() as work:
        titles()

    [query] = work.queries
    assert "IN (%s, ...)" in query.text
    assert query.place.startswith(f"{__name__}.test_a_query_is_named")
    assert "<locals>" not in query.place
    assert not tracing.is_of_project(tracing.__file__)
    assert tracing.read_hook() is None


# From the advice to the command's lines


def test_a_line_of_the_command_has_each_figure_in_its_column() -> None:
    figures = {"calls": 7, "total_us": 4_000_000, "repeats": 5, "repeated_us": 3_000_000}
    timing("q", changed=2, tables="default.library_author ?", **figures)
    timing("old", hours_ago=5, kind="view")
    out = StringIO()

    call_command("cache_stats", "--advise", stdout=out)
    _, headings, line, details, *_ = out.getvalue().splitlines()
    call_command("cache_stats", "--advise", "--since", "1h", stdout=(recent := StringIO()))

    assert headings.split() == ["saving", "spent", "calls", "repeats", "changed", "what"]
    assert line.split() == ["3.0", "s", "4.0", "s", "7", "5", "2", "query", "q"]
    assert details.startswith("    reads library_author")
    assert details.endswith(", what is not tracked")
    assert "view old\n    reads nothing" in out.getvalue()
    assert "view old" not in recent.getvalue()


def test_a_long_name_is_cut_where_its_line_would_be_too_long() -> None:
    assert cache_stats.shortened("x" * 72) == "x" * 72
    assert cache_stats.shortened("x" * 73) == "x" * 69 + "..."


def test_a_period_without_samples_is_reported(settings: Settings) -> None:
    timing("old", hours_ago=5)
    call_command("cache_stats", "--advise", "--since", "1h", stdout=(out := StringIO()))
    assert out.getvalue() == "Nothing was timed within that time.\n"

    settings.CACHELAYERS = {**settings.CACHELAYERS, "ADVISE_SAMPLE": 0}
    with pytest.raises(CommandError, match="ADVISE_SAMPLE"):
        call_command("cache_stats", "--advise", "--since", "1h")
    call_command("cache_stats", "--advise", stdout=(out := StringIO()))
    assert "query old" in out.getvalue()


def test_a_table_that_is_missing_is_an_error_that_names_its_database() -> None:
    with without_table(Timing), pytest.raises(CommandError, match="DATABASES"):
        call_command("cache_stats", "--advise")
