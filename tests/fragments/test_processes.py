"""Several processes that share a store of fragments: none is stale, each is rendered once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import ForkPython, empty_cache
from tests.library.models import Author, Book

PROGRAM, SETTINGS = "tests.fragments.program", "tests.consistency.settings"
ROWS = 6
LEASE_SECONDS = 1  # of the program
SECONDS = 0.8
LEAST_PAGES = LEAST_EDITS = 6  # within these seconds, or more

Start = Callable[[], "Process"]


class Process:
    """A process that runs commands."""

    def __init__(self, fork_python: ForkPython, *arguments: str) -> None:
        self.popen = fork_python(PROGRAM, *arguments, settings=SETTINGS)

    def tell(self, *order: object) -> None:
        self.popen.stdin.write(" ".join(map(str, order)) + "\n")
        self.popen.stdin.flush()

    def hear(self) -> Any:
        line = self.popen.stdout.readline()
        if not line:
            raise AssertionError(self.popen.communicate()[1])
        return json.loads(line)

    def ask(self, *order: object) -> Any:
        self.tell(*order)
        return self.hear()


@pytest.fixture(
    params=[
        ("sqlite", "default", "django"),
        ("layers", "default", "jinja2"),
        pytest.param(("postgres", "postgres", "django"), marks=pytest.mark.postgres),
    ],
    ids=["table", "memory and table", "a server"],
)
def place(request: pytest.FixtureRequest) -> tuple[str, str, str]:
    """Return a store, a database for the rows, and an engine."""
    found: tuple[str, str, str] = request.param
    return found


@pytest.fixture
def books(place: tuple[str, str, str]) -> Iterator[list[Book]]:
    """Create rows, all with the title 0; the store is empty."""
    store, database, _ = place
    empty_cache("sqlite" if store == "layers" else store)
    Author.objects.using(database).all().delete()
    author = Author.objects.using(database).create(name="Ann")
    books = [
        Book.objects.using(database).create(title="0", author=author) for number in range(ROWS)
    ]
    yield books
    Author.objects.using(database).all().delete()


@pytest.fixture
def start(fork_python: ForkPython, place: tuple[str, str, str], books: list[Book]) -> Start:
    return lambda: Process(fork_python, *place)


def start_all(start: Start, count: int) -> list[Process]:
    processes = [start() for _ in range(count)]
    for process in processes:
        assert process.hear() == "ready"
    return processes


def test_an_edit_is_on_each_page_after_it_and_renders_one_row_once(
    start: Start, books: list[Book]
) -> None:
    """The other processes find it in the store, and not in their memory."""
    editor, *readers = start_all(start, 3)
    for _ in range(2):  # rows written before a process first reads the log are rendered once more
        for reader in readers:
            reader.ask("render")

    for number in range(1, 9):
        changed = books[number % ROWS]
        before = readers[0].ask("render")
        editor.ask("edit", changed.pk, number)
        pages = [reader.ask("render") for reader in readers for _ in range(2)]

        expected = list(before["rows"])
        expected[number % ROWS] = str(number)
        assert before["rendered"] == 0
        assert [page["rows"] for page in pages] == [expected] * len(pages)
        assert [page["read"] for page in pages] == [expected] * len(pages)
        # The row, and the part that reads all rows. The first time is not stored, because the view
        # had read the rows before this process read the log.
        assert [page["rendered"] for page in pages] == [2, 2, 0, 0]


def test_no_page_is_older_than_what_was_committed_when_it_was_begun(start: Start) -> None:
    editor, *readers = start_all(start, 3)

    # on a busy machine a process may not get to run
    for seconds in (SECONDS, 3 * SECONDS, 6 * SECONDS):
        for reader in readers:
            reader.tell("render_for", seconds, LEAST_PAGES)
        edits = editor.ask("edit_for", seconds, LEAST_EDITS)
        found = [reader.hear() for reader in readers]

        assert edits >= LEAST_EDITS
        assert [one["stale"] for one in found] == [[], []]
        assert [one["unseen"] for one in found] == [[], []]
        if all(one["made"] < one["pages"] * (ROWS + 1) for one in found):
            return

    raise AssertionError(f"All of it was made anew for each page: {found}")


def test_a_cold_list_is_rendered_once_by_two_processes(start: Start) -> None:
    processes = start_all(start, 2)
    begin = time.time() + 0.2

    for process in processes:
        process.tell("render_cold", begin, 0.03)
    pages = [process.hear() for process in processes]

    assert [page["rows"] for page in pages] == [["0"] * ROWS] * 2
    assert sum(page["rendered"] for page in pages) == ROWS + 1


def test_a_process_that_was_killed_while_it_rendered_blocks_others_no_longer_than_its_lease(
    start: Start,
) -> None:
    killed, other = start_all(start, 2)
    killed.tell("render_and_hang")
    assert killed.hear() == "rendering"
    killed.popen.kill()
    killed.popen.wait()

    began = time.monotonic()
    page = other.ask("render")

    assert page["rows"] == ["0"] * ROWS
    assert page["rendered"] == ROWS + 1
    assert time.monotonic() - began < LEASE_SECONDS + 5  # the machine may be busy
