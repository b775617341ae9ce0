"""With a freshness, hits take no statement, and are never older than it allows."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.cache import caches
from django.db import connections, transaction
from django.template import Context, Template
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from cachelayers import arecall, cached, invalidate, recall, recall_many, unit_of_work
from cachelayers.backends.layered.coordination import Coordination
from cachelayers.conf import package_settings
from cachelayers.invalidation.dialects import STATE
from cachelayers.invalidation.log import log_of
from cachelayers.invalidation.units import CommandUnit
from tests.conftest import ForkPython, empty_cache
from tests.invalidation.conftest import Site, await_condition
from tests.invalidation.test_units import elsewhere, name_of, rename
from tests.library.models import Author
from tests.state import another_process

LONG = 600  # seconds, longer than any test
STORE = "sqlite"

# A process that runs code, one line after the other.
OTHER_PROCESS = """
import json, sys
from django.db import connections
from cachelayers.invalidation.log import begin_anew
from tests.library.models import Author, Book
for line in sys.stdin:
    exec(json.loads(line))
    print("done", flush=True)
"""

Run = Callable[[str], None]


@pytest.fixture(autouse=True)
def _author(site: Site) -> None:
    Author.objects.using(site.database).create(pk=1, name="Ann")
    site.settle()


@pytest.fixture
def in_other_process(fork_python: ForkPython) -> Run:
    """Return a function that runs code in another process, and waits for it."""
    process = fork_python(OTHER_PROCESS)

    def run(code: str) -> None:
        process.stdin.write(json.dumps(code) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n", process.stderr.read()

    return run


def renaming(site: Site, name: str) -> str:
    return f"Author.objects.using({site.database!r}).filter(pk=1).update(name={name!r})"


def warm(site: Site, key: str = "author") -> None:
    """Store the name, and know the log so far."""
    site.visit(key, lambda: name_of(site))
    site.visit(key, lambda: name_of(site))


def visit(site: Site, freshness: Any = LONG, key: str = "author", **options: Any) -> Any:
    return site.visit(key, lambda: name_of(site), freshness=freshness, **options)


@contextmanager
def without_statements() -> Iterator[None]:
    """Have the block take no statement on a connection that is open; others may have no server."""
    open_ones = [one for one in connections.all(initialized_only=True) if one.connection]
    watched = [CaptureQueriesContext(one) for one in open_ones]
    for one in watched:
        one.__enter__()
    try:
        yield
    finally:
        for one in watched:
            one.__exit__(None, None, None)
    found = [query["sql"] for one in watched for query in one.captured_queries]
    assert found == []


def test_a_hit_in_memory_takes_no_statement(site: Site) -> None:
    site.store = "memory"
    empty_cache(site.store)
    warm(site)

    with without_statements():
        assert visit(site) == "Ann"
    assert len(site.computed) == 1
    with pytest.raises(AssertionError), without_statements():
        visit(site, freshness=0)


@pytest.mark.parametrize("ways", ["one", "many", "async", "nested"])
def test_no_way_to_a_hit_takes_a_statement(site: Site, ways: str) -> None:
    site.store = "memory"
    empty_cache(site.store)
    options: Any = {"using": "memory", "timeout": None, "freshness": "10m"}

    def get_many(keys: list[str]) -> dict[str, str]:
        return {key: name_of(site) for key in keys}

    async def get_async() -> Any:
        return await arecall("author", lambda: name_of(site), **options)

    def outer() -> list[str]:
        return [recall("author", lambda: name_of(site), **options), "!"]

    def get() -> Any:
        with unit_of_work():
            if ways == "many":
                return recall_many(["author", "writer"], get_many, **options)
            if ways == "async":
                return async_to_sync(get_async)()
            if ways == "nested":
                return recall("outer", outer, **options)
            return recall("author", lambda: name_of(site), **options)

    if ways == "async":
        recall("author", lambda: name_of(site), **options)
    first = get()
    visit(site, freshness=0)

    with without_statements():
        assert get() == first


def test_the_memory_of_layers_is_read_without_a_look_at_the_bus(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.store = "memory_table"
    empty_cache(site.store)
    warm(site)
    polls: list[int] = []
    poll = Coordination._poll_now

    def count_and_poll(self: Coordination) -> Any:
        polls.append(1)
        return poll(self)

    monkeypatch.setattr(Coordination, "_poll_now", count_and_poll)
    with without_statements():
        visit(site)
    assert polls == []
    with unit_of_work():
        caches[site.store].get("a_plain_value")  # these are not asked about a freshness
    assert polls == [1]


def test_what_another_process_deletes_ends_within_the_freshness(
    site: Site, in_other_process: Run
) -> None:
    site.store = "memory_table"
    empty_cache(site.store)
    warm(site)

    in_other_process(
        "from django.core.cache import caches; assert caches['memory_table'].delete('author')"
    )
    visit(site)
    assert len(site.computed) == 1
    await_condition(lambda: (visit(site, freshness=0.05), len(site.computed) == 2)[1])


def test_another_process_s_change_is_seen_late_but_within_the_freshness(
    site: Site, in_other_process: Run
) -> None:
    freshness = 0.3
    warm(site)

    in_other_process(renaming(site, "Anna"))
    assert visit(site) == "Ann"
    changed_at = time.monotonic()
    while True:
        began = time.monotonic()
        if visit(site, freshness=freshness) != "Ann":
            break
        assert began <= changed_at + freshness
    assert visit(site) == "Anna"


def test_without_a_freshness_another_process_s_change_is_seen_at_once(
    site: Site, in_other_process: Run
) -> None:
    warm(site)

    in_other_process(renaming(site, "Anna"))

    assert visit(site, freshness=0) == "Anna"


def test_the_setting_is_for_all_recalls(site: Site, in_other_process: Run) -> None:
    warm(site)
    in_other_process(renaming(site, "Anna"))

    with override_settings(CACHELAYERS={"FRESHNESS": "10m"}):
        assert site.visit("author", lambda: name_of(site)) == "Ann"
        assert visit(site, freshness=0) == "Anna"


def create_with_returning(site: Site) -> None:
    """On SQLite, this is committed when its row is fetched."""
    Author.objects.using(site.database).get(pk=1).delete()
    Author.objects.using(site.database).create(pk=1, name="Anna")


def write_in_a_transaction(site: Site) -> None:
    with transaction.atomic(site.database):
        rename(site, "Anna")


def write_in_sql(site: Site) -> None:
    site.execute("UPDATE library_author SET name = 'Anna' WHERE id = 1")


def write_in_a_transaction_in_sql(site: Site) -> None:
    if site.database == "mariadb":  # whose driver does not tell
        return write_in_a_transaction(site)
    site.execute("BEGIN")
    write_in_sql(site)
    visit_elsewhere(site)
    return site.execute("COMMIT")


def visit_elsewhere(site: Site) -> None:
    """Have another thread of this process read the log."""
    elsewhere(lambda: visit(site, 0, key="another"))


WAYS: list[Callable[[Site], None]] = [
    create_with_returning,
    write_in_a_transaction,
    write_in_sql,
    write_in_a_transaction_in_sql,
]


@pytest.mark.parametrize("write", WAYS)
def test_the_process_s_own_writes_are_seen_at_once(
    site: Site, write: Callable[[Site], None]
) -> None:
    """In the unit that has written, in the next one, and in another thread."""
    warm(site)

    with unit_of_work():
        assert site.recall("author", lambda: name_of(site), freshness=LONG) == "Ann"
        write(site)
        assert site.recall("author", lambda: name_of(site), freshness=LONG) == "Anna"

    assert visit(site) == "Anna"


@pytest.mark.parametrize("write", WAYS)
def test_a_write_of_another_thread_is_seen_at_once(
    site: Site, write: Callable[[Site], None]
) -> None:
    warm(site)

    elsewhere(lambda: write(site))

    assert visit(site) == "Anna"


def test_a_write_whose_rows_are_fetched_later_is_seen_at_once(site: Site) -> None:
    """SQLite commits it when they have been fetched."""
    warm(site)

    with connections[site.database].cursor() as cursor:
        if site.database == "mariadb":  # which has no UPDATE with RETURNING
            cursor.execute("REPLACE INTO library_author (id, name) VALUES (1, 'Anna') RETURNING id")
        else:
            cursor.execute("UPDATE library_author SET name = 'Anna' WHERE id = 1 RETURNING id")
        visit_elsewhere(site)
        assert list(cursor.fetchall()) == [(1,)]

    assert visit(site) == "Anna"


def test_an_explicit_invalidation_is_seen_at_once(site: Site) -> None:
    for target in ("at_once", "in_a_transaction"):
        site.visit(target, lambda: name_of(site), tags=[target])
        site.settle()
        assert site.is_hit(target, lambda: name_of(site), tags=[target], freshness=LONG)
        with transaction.atomic() if target == "in_a_transaction" else nullcontext():
            invalidate(target)
        assert not site.is_hit(target, lambda: name_of(site), tags=[target], freshness=LONG)


def test_a_log_read_before_the_commit_does_not_count(site: Site) -> None:
    """While another thread has written and not committed, each unit reads the log."""
    warm(site)
    wrote, may_commit = threading.Event(), threading.Event()

    def write_slowly() -> None:
        with transaction.atomic(site.database):
            rename(site, "Anna")
            wrote.set()
            assert may_commit.wait(30)
        connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(write_slowly)
        assert wrote.wait(30)
        assert visit(site) == "Ann"  # reads the log
        may_commit.set()
        done.result(60)

    assert visit(site) == "Anna"


def test_an_entry_newer_than_what_was_read_of_the_log_is_found(
    site: Site, in_other_process: Run
) -> None:
    warm(site)
    in_other_process(renaming(site, "Anna"))
    with another_process("invalidation.log"):
        site.settle()
        assert visit(site, freshness=0) == "Anna"  # stores it, as another process does
    site.settle()
    computed = len(site.computed)

    assert visit(site) == "Anna"
    assert len(site.computed) == computed


def test_a_log_that_began_anew_ends_an_entry_of_the_former_one(site: Site) -> None:
    """Also one that claims to be newer than what this process has read."""
    warm(site)
    log = log_of(site.database)
    assert log.known is not None
    former = log.known.incarnation
    site.execute(f"UPDATE {STATE} SET incarnation = '{'f' * 32}'")

    assert not log.is_unchanged_since(former, log.known.watermark + 1, [])
    assert log.known.incarnation == "f" * 32


@cached(using=STORE, timeout=None, key=lambda author: str(author.pk))
def greeting(author: Author) -> str:
    return f"Hello {author.name}"


@pytest.mark.parametrize("is_command", [False, True])
def test_what_is_made_of_an_old_row_does_not_claim_to_be_newer(
    site: Site, in_other_process: Run, is_command: bool
) -> None:
    def get() -> Author:
        return Author.objects.using(site.database).get(pk=1)

    site.visit("row", get)
    site.visit("row", get)
    in_other_process(renaming(site, "Anna"))

    with unit_of_work(**({"kind": CommandUnit} if is_command else {})):
        old = site.recall("row", get, freshness=LONG)
        assert old.name == "Ann"
        assert greeting(old) == "Hello Ann"

    with unit_of_work():
        assert greeting(get()) == "Hello Anna"


def test_a_recall_that_is_fresher_makes_those_within_it_so(
    site: Site, in_other_process: Run
) -> None:
    warm(site)
    visit(site, freshness=0, key="another")
    in_other_process(renaming(site, "Anna"))

    def inner() -> Any:
        return site.recall("author", lambda: name_of(site), freshness=LONG)

    def each(keys: list[str]) -> dict[str, Any]:
        return {key: inner() for key in keys}

    with unit_of_work():
        found = recall_many(["batch"], each, using=STORE, timeout=None, freshness=0)
    assert found == {"batch": "Anna"}
    in_other_process(renaming(site, "Anja"))
    assert site.visit("outer", inner, freshness=0) == "Anja"


def test_a_recall_with_a_freshness_stores_no_value_that_seems_fresher(
    site: Site, in_other_process: Run
) -> None:
    warm(site)
    in_other_process(renaming(site, "Anna"))

    def inner() -> Any:
        return site.recall("author", lambda: name_of(site), freshness=LONG)

    site.visit("outer", inner, freshness=LONG)
    assert site.visit("outer", inner, freshness=0) == "Anna"


def test_within_a_transaction_that_was_open_before_the_log_is_read(
    site: Site, in_other_process: Run
) -> None:
    """Its reads may be older than what the process knows."""
    warm(site)
    in_other_process(renaming(site, "Anna"))

    with transaction.atomic(site.database):
        assert visit(site) == "Anna"


def test_outside_of_units_the_log_is_read(site: Site, in_other_process: Run) -> None:
    warm(site)
    in_other_process(renaming(site, "Anna"))

    assert site.recall("author", lambda: name_of(site), freshness=LONG) == "Anna"


class Router:
    """Chooses as Django does without one."""


def test_with_a_router_the_log_is_read(site: Site, in_other_process: Run) -> None:
    warm(site)
    in_other_process(renaming(site, "Anna"))

    with override_settings(DATABASE_ROUTERS=["tests.invalidation.test_freshness.Router"]):
        assert visit(site) == "Anna"


def test_fragments_have_the_option_too(site: Site, in_other_process: Run) -> None:
    def show(tag: str, freshness: Any) -> str:
        source = "{% load cachelayers %}" + tag
        with unit_of_work():
            context = Context({"get": lambda: name_of(site), "freshness": freshness, "ones": [1]})
            return Template(source).render(context)

    options = f'timeout=600 using="{STORE}" freshness=freshness'
    tags = (
        '{% fragment "one" 1 ' + options + " %}{{ get }}{% endfragment %}",
        '{% fragments "each" ' + options + " for one in ones %}{{ get }}{% endfragments %}",
    )
    for tag in tags:
        for _ in range(2):
            assert show(tag, 0) == "Ann"
    in_other_process(renaming(site, "Anna"))

    assert [show(tag, "10m") for tag in tags] == ["Ann"] * 2
    assert [show(tag, 0) for tag in tags] == ["Anna"] * 2


@pytest.mark.parametrize("value", [-1, True, "soon", None, float("nan")])
def test_a_setting_that_is_none_is_as_if_it_were_not_given(value: Any) -> None:
    with override_settings(CACHELAYERS={"FRESHNESS": value}):
        assert package_settings().FRESHNESS == 0


@pytest.mark.parametrize("value", [-1, True, "soon", None, float("nan"), float("inf")])
def test_a_freshness_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="freshness is"):
        recall("author", list, freshness=value)
    with pytest.raises((TypeError, ValueError), match="freshness is"):
        cached(freshness=value)(test_a_freshness_that_is_none_is_refused)
