"""Run programs: after each write every query is recalled, and compared with the database."""

from __future__ import annotations

import contextlib
import itertools
import uuid as uuids
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import Any

from django.core.exceptions import FieldError, ObjectDoesNotExist, ValidationError
from django.db import DatabaseError, connections, models, transaction
from django.db.models import functions

from cachelayers import recall, unit_of_work
from cachelayers.invalidation.log import log_of
from tests.programs import orm, sql, writes
from tests.programs.constants import Chance
from tests.programs.models import Badge, Label, Post, Remark, Writer

MODELS: tuple[type[models.Model], ...] = (
    *(Post.labels.through, Remark, Badge, Post, Label, Writer),
)
KINDS: dict[str, Callable[[Chance], str]] = {**orm.KINDS, **sql.KINDS}
MOST_ROWS = 300  # of an answer; larger ones are products of whole tables
QUERIES, WRITES = 16, 14
CANDIDATES = 26
EMPTY = 4  # of so many queries that find nothing in the first rows, one is taken
NUMBERS = itertools.count()


class RollBack(Exception):
    """Ends a transaction without its changes."""


class NoRow(Exception):
    """The table is empty."""


# What a write or a query may raise, which only means that there is nothing to compare.
REFUSALS = (
    *(DatabaseError, NoRow, ObjectDoesNotExist, FieldError, ValueError, TypeError),
    *(ValidationError, OverflowError, NotImplementedError),
)


@dataclass(frozen=True)
class Query:
    """The code of a query, and its kind."""

    kind: str
    code: str


@dataclass(frozen=True)
class Program:
    """Rows, queries and writes. Each line is code, and can be left out."""

    rows: tuple[str, ...]
    queries: tuple[Query, ...]
    writes: tuple[str, ...]

    def __str__(self) -> str:
        parts = {
            "rows": self.rows,
            "queries": tuple(query.code for query in self.queries),
            "writes": self.writes,
        }
        lines = [
            f"    {name}=[\n{''.join(f'        {line!r},{chr(10)}' for line in part)}    ],\n"
            for name, part in parts.items()
        ]
        return f"run_program(\n{''.join(lines)})"


@dataclass
class Stale:
    """An answer that was not the database's."""

    query: Query
    write: str
    found: Any
    expected: Any
    is_hit: bool


@dataclass
class Figures:
    """What was compared, by kind of query."""

    comparisons: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)
    needed: Counter[str] = field(default_factory=Counter)  # misses: the answer had changed
    unneeded: Counter[str] = field(default_factory=Counter)  # it had not
    in_transactions: int = 0  # comparisons where nothing is stored
    programs: int = 0
    writes: int = 0
    refused: int = 0  # writes
    left_out: int = 0  # queries
    stale: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.comparisons.total()

    def include(self, other: Figures) -> None:
        """Add another process's figures."""
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def lines(self) -> Iterator[str]:
        """Yield the share of hits by kind, beside that of an oracle which knows the answers."""
        for kind in [*sorted(self.comparisons), ""]:
            counts = [
                found.total() if not kind else found[kind]
                for found in (self.comparisons, self.hits, self.needed, self.unneeded)
            ]
            asked, hits, needed, unneeded = counts
            seen = max(hits + needed + unneeded, 1)
            yield (
                f"{kind or 'all':20} {asked:9,} comparisons; {hits / seen:4.0%} hits,"
                f" {(hits + unneeded) / seen:4.0%} possible; {unneeded / seen:4.0%} unneeded misses"
            )
        yield (
            f"{self.programs:,} programs, {self.writes:,} writes ({self.refused:,} refused),"
            f" {self.left_out:,} queries left out, {self.in_transactions:,} comparisons within"
            f" transactions; {len(self.stale)} stale"
        )


def make_program(seed: int) -> Program:
    """Return the program of a number, with more queries than a run takes."""
    chance = Chance(seed, seed + 1)
    made: list[Query] = []
    while len(made) < CANDIDATES:
        kind = chance.among(*KINDS)
        shape = chance.shape.randrange(2**32)
        # The same text, twice, with other constants.
        for constants in range(chance.among(1, 2)):
            code = KINDS[kind](Chance(shape, chance.constants.randrange(2**32) + constants))
            made.append(Query(kind, code))
    return Program(
        tuple(writes.rows(chance)),
        tuple(dict.fromkeys(made)),
        tuple(writes.write(chance) for _ in range(WRITES)),
    )


def run_program(
    rows: Iterable[str],
    queries: Iterable[str],
    writes: Iterable[str],
    database: str = "default",
    store: str = "memory",
) -> None:
    """Run the program of a failure again."""
    program = Program(tuple(rows), tuple(Query("", code) for code in queries), tuple(writes))
    stale = Run(program, database, store, takes_all=True).run()
    assert stale is None, stale


class Plain:
    """A query without a cache.

    What one statement has returned before is not made into objects again, which takes longest.
    """

    def __init__(self, code: str, names: dict[str, Any], connection: Any) -> None:
        self.connection = connection
        self.answer_anew: Callable[[], Any] = eval(f"lambda: {code}", names)
        self.statement: tuple[str, Any] | None = None
        self.rows: Any = None
        self.known: Any = None

    def __call__(self) -> Any:
        if self.statement is not None and self.fetch(*self.statement) == self.rows:
            return self.known
        run: list[tuple[str, Any]] = []

        def note(execute: Any, text: str, parameters: Any, many: bool, context: Any) -> Any:
            run.append((text, parameters))
            return execute(text, parameters, many, context)

        with self.connection.execute_wrapper(note):
            self.known = self.answer_anew()
        self.statement = run[0] if len(run) == 1 else None
        self.rows = None if self.statement is None else self.fetch(*self.statement)
        return self.known

    def fetch(self, text: str, parameters: Any) -> Any:
        with self.connection.cursor() as cursor:
            cursor.execute(text, parameters)
            return list(cursor.fetchall())


class Run:
    """One run of a program."""

    def __init__(
        self,
        program: Program,
        database: str,
        store: str = "memory",
        figures: Figures | None = None,
        *,
        takes_all: bool = False,
    ) -> None:
        self.program, self.database, self.store = program, database, store
        self.figures = figures or Figures()
        self.takes_all = takes_all
        self.name = f"program-{next(NUMBERS)}"
        self.names = Names(database, self.check).all()
        self.queries: dict[Query, Plain] = {}
        self.last: dict[Query, Any] = {}
        self.now = ""  # the present write

    def run(self) -> Stale | None:
        """Return the first stale answer."""
        self.figures.programs += 1
        try:
            self.begin()
            for write in self.program.writes:
                self.now = write
                self.figures.writes += 1
                self.figures.refused += not self.perform(write)
                age_writes(self.database)
                self.check()
        except Found as found:
            return found.stale
        return None

    def begin(self) -> None:
        """Make the rows, and fill the cache."""
        empty(self.database)
        if not self.perform("\n".join(self.program.rows)):
            for row in self.program.rows:  # some of them do without the others
                self.perform(row)
        age_writes(self.database)
        for number, query in enumerate(self.program.queries):
            plain = Plain(query.code, self.names, connections[self.database])
            if self.takes(number, self.answer(plain)):
                self.queries[query] = plain
        with unit_of_work():
            for query in self.queries:
                self.last[query] = self.recall(query)[0]

    def takes(self, number: int, answer: Any) -> bool:
        """Return whether to take a query; one that finds nothing tells little."""
        if answer is REFUSED or (isinstance(answer, list) and len(answer) > MOST_ROWS):
            self.figures.left_out += 1
            return False
        if self.takes_all:
            return True
        is_empty = not answer or answer in ([(0,)], [[]])
        return len(self.queries) < QUERIES and (not is_empty or number % EMPTY == 0)

    def perform(self, write: str) -> bool:
        """Write in one transaction; return False if it was refused."""
        try:
            with transaction.atomic(self.database):
                exec(write, self.names)
        except REFUSALS:
            return False
        return True

    def answer(self, plain: Callable[[], Any]) -> Any:
        """Return the database's answer, or REFUSED."""
        try:
            with transaction.atomic(self.database) if self.is_in_transaction else nothing():
                return plain()
        except REFUSALS:
            return REFUSED

    @property
    def is_in_transaction(self) -> bool:
        return connections[self.database].in_atomic_block

    def recall(self, query: Query) -> tuple[Any, bool]:
        """Return the recalled answer, and whether it was a hit."""
        computed: list[bool] = []

        def compute() -> Any:
            computed.append(True)
            return self.answer(self.queries[query].answer_anew)

        key = f"{self.name}:{self.program.queries.index(query)}"
        return recall(key, compute, timeout=None, using=self.store), not computed

    def check(self) -> None:
        """Recall every query, and compare."""
        with unit_of_work():
            found = {query: self.recall(query) for query in self.queries}
        for query, (value, is_hit) in found.items():
            expected = self.answer(self.queries[query])
            self.count(query, expected, is_hit=is_hit)
            if value != expected:
                raise Found(Stale(query, self.now, value, expected, is_hit))

    def count(self, query: Query, expected: Any, *, is_hit: bool) -> None:
        figures = self.figures
        figures.comparisons[query.kind] += 1
        if self.is_in_transaction:
            figures.in_transactions += 1
            return
        is_changed = self.last[query] != expected
        self.last[query] = expected
        if is_hit:
            figures.hits[query.kind] += 1
        elif is_changed:
            figures.needed[query.kind] += 1
        else:
            figures.unneeded[query.kind] += 1


class Found(Exception):
    """Ends the run: an answer was stale."""

    def __init__(self, stale: Stale) -> None:
        super().__init__(stale)
        self.stale = stale


REFUSED = "refused"  # an answer of its own: it may be cached as any other
nothing = contextlib.nullcontext


# The names that programs use


class Names:
    """What the code of programs calls."""

    def __init__(self, database: str, check: Callable[[], None]) -> None:
        self.database, self.check = database, check
        self.connection: Any = connections[database]

    def all(self) -> dict[str, Any]:
        own = ("on", "one", "sql", "execute", "execute_many", "execute_past_django", "exchange")
        return {
            **{model.__name__: model for model in (Writer, Label, Badge, Post, Remark)},
            **{name: getattr(models, name) for name in MODEL_NAMES},
            "Lower": functions.Lower,
            "Decimal": Decimal,
            "uuid": uuid,
            "rows": rows,
            "ordered": ordered,
            "shown": shown,
            "change": change,
            **{name: getattr(self, name) for name in (*own, "raw_uuid", "rolled_back")},
            "together": partial(transaction.atomic, self.database),
            "check": self.check,
            "database": self.database,
        }

    def on(self, model: type[models.Model]) -> models.QuerySet[Any]:
        return model._default_manager.using(self.database)

    def one(self, model: type[models.Model], number: int) -> Any:
        """Return a row that is there."""
        found = list(self.on(model).order_by("pk"))
        if not found:
            raise NoRow
        return found[number % len(found)]

    def sql(self, statement: str, parameters: list[Any]) -> list[Any]:
        """Return what a SELECT finds, in an order of its own."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return sorted(cursor.fetchall(), key=repr)

    def execute(self, statement: str, parameters: list[Any]) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, parameters)

    def execute_many(self, statement: str, parameters: list[list[Any]]) -> None:
        with self.connection.cursor() as cursor:
            cursor.executemany(statement, parameters)

    def execute_past_django(self, statement: str, parameters: list[Any]) -> None:
        place = "?" if self.connection.vendor == "sqlite" else "%s"
        with contextlib.closing(self.connection.connection.cursor()) as cursor:
            try:
                cursor.execute(statement.replace("%s", place), parameters)
            except self.connection.Database.Error as error:
                raise DatabaseError(*error.args) from error

    def exchange(self, first: Any, second: Any, name: str) -> None:
        """Let two rows exchange what may be in one row only."""
        mine, theirs = getattr(first, name), getattr(second, name)
        change(first, **{name: "between" if name == "slug" else None}).save()
        change(second, **{name: mine}).save()
        change(first, **{name: theirs}).save()

    def raw_uuid(self, number: int) -> Any:
        """Return a UUID as the driver takes it."""
        return Badge._meta.get_field("id").get_db_prep_value(uuid(number), self.connection)

    @contextlib.contextmanager
    def rolled_back(self) -> Iterator[None]:
        with contextlib.suppress(RollBack), transaction.atomic(self.database):
            yield
            raise RollBack


MODEL_NAMES = (
    *("Q", "F", "Count", "Exists", "OuterRef", "Subquery", "Case", "When", "Value"),
    *("FilteredRelation", "Prefetch"),
)


def uuid(number: int) -> uuids.UUID:
    return uuids.UUID(int=0xAB << 120 | number)


def change(row: Any, **changed: Any) -> Any:
    for name, value in changed.items():
        setattr(row, name, value)
    return row


def shown(row: Any, depth: int = 2) -> Any:
    """Return all that was read of a row, with the rows that it has fetched, which refer to it."""
    if not isinstance(row, models.Model):
        return row
    own = {name: value for name, value in vars(row).items() if not name.startswith("_")}
    if not depth:
        return (type(row).__name__, own)
    related = {name: shown(one, depth - 1) for name, one in row._state.fields_cache.items()}
    fetched = vars(row).get(PREFETCHED, {})
    many = {name: rows(found, depth - 1) for name, found in fetched.items()}
    return (type(row).__name__, own, related, many)


PREFETCHED = "_prefetched_objects_cache"


def rows(found: Iterable[Any], depth: int = 2) -> list[Any]:
    """Return what was found, in an order of its own."""
    return sorted((shown(one, depth) for one in found), key=repr)


def ordered(found: Iterable[Any]) -> list[Any]:
    return list(map(shown, found))


def empty(database: str) -> None:
    """Delete all rows."""
    with connections[database].constraint_checks_disabled(), transaction.atomic(database):
        for model in MODELS:
            model._default_manager.using(database).all()._raw_delete(database)


def age_writes(database: str) -> None:
    """Have all writes count as committed: on MariaDB this takes seconds otherwise."""
    if connections[database].vendor != "mysql":
        return
    with connections[database].cursor() as cursor:
        cursor.execute("UPDATE cachelayers_invalidation SET at = at - 60000")
    if known := log_of(database).known:
        known.newest = None  # else a row that is not as it was tells of an older log


# Failures


def find_stale(seed: int, database: str, store: str, figures: Figures) -> str:
    """Run the program of a number; return what is stale as code, as short as it gets, or ""."""
    run = Run(make_program(seed), database, store, figures)
    found = run.run()
    if found is None:
        return ""

    def is_stale(program: Program) -> bool:
        return Run(program, database, store, takes_all=True).run() is not None

    done = run.program.writes[: run.program.writes.index(found.write) + 1]
    program = replace(run.program, queries=tuple(run.queries), writes=done)
    alone = replace(program, queries=(found.query,))
    program = shrink(alone if is_stale(alone) else program, is_stale)
    return f"Stale, in program {seed}: {describe(program, database, store)}"


def describe(program: Program, database: str, store: str) -> str:
    """Return the code of a program, and its stale answer."""
    stale = Run(program, database, store, takes_all=True).run()
    if stale is None:
        return f"{program}\nIt is not stale each time."
    return (
        f"{program}\nafter {stale.write}\n{'cached' if stale.is_hit else 'computed'}:"
        f" {stale.found!r}\nin the database: {stale.expected!r}"
    )


def shrink(program: Program, is_stale: Callable[[Program], bool]) -> Program:
    """Leave out whatever is not needed for a stale answer."""
    for name in ("queries", "writes", "rows"):
        program = shrink_part(program, name, is_stale)
    return program


def shrink_part(program: Program, name: str, is_stale: Callable[[Program], bool]) -> Program:
    size = max(len(getattr(program, name)) // 2, 1)
    while True:
        start = 0
        while start < len(lines := getattr(program, name)):
            shorter = replace(program, **{name: lines[:start] + lines[start + size :]})
            if is_stale(shorter):
                program = shorter
            else:
                start += size
        if size == 1:
            return program
        size //= 2
