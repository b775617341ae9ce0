"""Random SELECTs over small tables, and writes that must not change their results."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from random import Random

from cachelayers.invalidation.sql.conditions import Literal, Occurrence

TABLES = ("t", "u", "v")
COLUMNS = ("p", "q", "r")
VALUES = (0, 0, 0, 1, 1, 1, None)
WRITES = 48  # for each SELECT
ALIASES = ("t", "u", "a", "b", "c")  # some are names of tables
Row = tuple[int | None, ...]
Find = Callable[[str, str], tuple[Occurrence, ...] | None]


class Different(AssertionError):
    """A write that was said not to affect a SELECT has changed its result."""


@dataclass
class Maker:
    """Makes a SELECT whose columns are p, q and r, from the numbers that a Random gives."""

    random: Random
    budget: int  # of SELECTs and sources in the statement

    def chance(self, percent: int) -> bool:
        return self.random.randrange(100) < percent

    def pick(self, *options: str) -> str:
        return options[self.random.randrange(len(options))]

    # Queries

    def statement(self) -> tuple[str, list[int]]:
        """Return a statement and its parameters."""
        text = self.query((), TABLES)
        values = [int(value) for value in re.findall("«(.)»", text)]
        return re.sub("«.»", "%s", text), values

    def query(self, outer: Sequence[str], tables: Sequence[str], *, with_ctes: bool = True) -> str:
        """Return a SELECT, or two with UNION and its kin. ``outer``: aliases around it."""
        self.budget -= 1
        before = ""
        if with_ctes and self.budget > 0 and self.chance(20):
            before, tables = self.ctes(tables)
        text = self.select(outer, tables)
        if self.budget > 0 and self.chance(15):
            operator = self.pick("UNION", "UNION ALL", "EXCEPT", "INTERSECT")
            text = f"{text} {operator} {self.select(outer, tables)}"
        if self.chance(10):
            text += f" ORDER BY 1, 2, 3 LIMIT {self.random.randrange(1, 4)}"
        return before + text

    def ctes(self, tables: Sequence[str]) -> tuple[str, Sequence[str]]:
        """Return WITH, and the names that FROM may then have."""
        name = self.pick("t", "w")  # a CTE hides a table of its name
        others = [table for table in tables if table != name]
        body = self.query((), others, with_ctes=False)
        if self.chance(30):
            step = f"SELECT a.p, {name}.q, a.r FROM {self.pick(*others)} AS a"
            step += f" JOIN {name} ON {name}.p = a.q WHERE {self.condition(['a', 'a'], (), others)}"
            text = f"WITH RECURSIVE {name}(p, q, r) AS (SELECT * FROM ({body}) UNION {step}) "
        else:
            text = f"WITH {name} AS ({body}) "
        return text, [*others, name]

    def select(self, outer: Sequence[str], tables: Sequence[str]) -> str:
        sources, aliases = self.sources(outer, tables)
        condition = self.condition(aliases, outer, tables)
        where = f" WHERE {condition}" if self.chance(70) else ""
        everything = [f"{alias}.{column}" for alias in aliases for column in COLUMNS]
        columns = [self.pick(*everything) for _ in COLUMNS]
        after = ""
        kind = self.random.randrange(100)
        if kind < 15:
            columns[1:] = self.aggregate(everything), self.aggregate(everything)
            after = f" GROUP BY {columns[0]}"
            if self.chance(50):
                after += f" HAVING {columns[1]} = 1 OR {columns[0]} = 1"
        elif kind < 22:
            columns = [self.aggregate(everything) for _ in COLUMNS]
        elif kind < 30:
            columns[1] = f"SUM({columns[1]}) OVER (PARTITION BY {columns[0]})"
        elif kind < 45 and self.budget > 0:
            columns[2] = f"({self.scalar([*outer, *aliases], tables)})"
        first = "SELECT DISTINCT" if self.chance(15) else "SELECT"
        listed = ", ".join(f"{one} AS {name}" for one, name in zip(columns, COLUMNS, strict=True))
        return f"{first} {listed} FROM {sources}{where}{after}"

    def aggregate(self, columns: Sequence[str]) -> str:
        column = self.pick(*columns)
        condition = f" FILTER (WHERE {self.pick(*columns)} = 1)" if self.chance(30) else ""
        return f"{self.pick('COUNT', 'SUM', 'MIN')}({column}){condition}"

    def scalar(self, outer: Sequence[str], tables: Sequence[str]) -> str:
        """Return a query with one value."""
        columns = self.pick("MAX(p)", "COUNT(*)", "SUM(q)")
        return (
            f"SELECT {columns} FROM ({self.query(outer, tables)}) AS x"
            + (f" WHERE x.p = {self.pick(*outer)}.q" if self.chance(20) else "")
            if self.chance(30)
            else self.small(columns, outer, tables)
        )

    def small(self, columns: str, outer: Sequence[str], tables: Sequence[str]) -> str:
        """Return a SELECT of one table that compares with the one around it."""
        self.budget -= 1
        alias = self.pick(*ALIASES)
        source = f"{self.pick(*tables)} AS {alias}"
        if self.chance(25):
            other = self.pick(*(one for one in ALIASES if one != alias))
            link = self.link([alias], [other], (), tables)
            source += f" {self.pick('JOIN', 'LEFT JOIN')} {self.pick(*tables)} AS {other} ON {link}"
            outer = [one for one in outer if one != other]
            condition = self.condition([alias, other], outer, tables)
        else:
            condition = self.condition([alias], outer, tables)
        around = [one for one in outer if one != alias]
        if around and self.chance(80):
            link = f"{self.column([alias])} = {self.column(around)}"
            condition = f"{link} AND ({condition})" if self.chance(80) else link
        columns = re.sub(r"\b([pq])\b", rf"{alias}.\1", columns)
        return f"SELECT {columns} FROM {source} WHERE {condition}"

    # FROM

    def sources(self, outer: Sequence[str], tables: Sequence[str]) -> tuple[str, list[str]]:
        """Return what follows FROM, with its aliases."""
        text, aliases = self.source(outer, tables, set())
        for _ in range(self.random.choice([0, 0, 1, 1, 1, 2, 2, 3])):
            right, names = self.source(outer, tables, set(aliases))
            if self.chance(25):
                other, more = self.source(outer, tables, {*aliases, *names})
                join = self.pick("JOIN", "LEFT JOIN")
                right = f"({right} {join} {other} ON {self.link(names, more, outer, tables)})"
                names = [*names, *more]
            kinds = ["JOIN", "INNER JOIN", *["LEFT JOIN", "LEFT OUTER JOIN"] * 3, ",", "CROSS JOIN"]
            if len(aliases) == 1 and len(names) == 1:  # else columns may be ambiguous
                kinds.append("NATURAL JOIN")
            kind = self.pick(*kinds, *(["RIGHT JOIN", "FULL JOIN"] if HAS_RIGHT_JOINS else []))
            before, aliases = list(aliases), [*aliases, *names]
            text = f"{text}{',' if kind == ',' else f' {kind}'} {right}"
            if kind not in {",", "CROSS JOIN", "NATURAL JOIN"}:
                text += f" ON {self.link(before, names, outer, tables)}"
        return text, aliases

    def source(
        self, outer: Sequence[str], tables: Sequence[str], taken: set[str]
    ) -> tuple[str, list[str]]:
        free = [alias for alias in (*ALIASES, "d", "e", "f", "g") if alias not in taken]
        alias = self.pick(*free[:3])
        self.budget -= 1
        if self.budget > 0 and self.chance(12):
            return f"({self.query(outer, tables)}) AS {alias}", [alias]
        table = self.pick(*tables)
        if table == alias or (table not in taken and self.chance(20)):
            return table, [table]
        return f"{table} AS {alias}", [alias]

    def link(
        self, left: Sequence[str], right: Sequence[str], outer: Sequence[str], tables: Sequence[str]
    ) -> str:
        """Return a condition of a join."""
        equal = f"{self.column(left)} = {self.column(right)}"
        if self.chance(50):
            return equal
        condition = self.condition([*left, *right], outer, tables, 1)
        return f"({equal} AND {condition})" if self.chance(80) else condition

    # Conditions

    def column(self, aliases: Sequence[str]) -> str:
        return f"{self.pick(*aliases)}.{self.pick(*COLUMNS)}"

    def value(self) -> str:
        number = self.random.randrange(2)
        return f"«{number}»" if self.chance(70) else str(number)

    def condition(
        self, aliases: Sequence[str], outer: Sequence[str], tables: Sequence[str], depth: int = 0
    ) -> str:
        """Return conjuncts, most of which fix a column."""
        some = [
            self.equality(aliases, outer)
            if self.chance(65)
            else self.predicate(aliases, outer, tables, depth)
            for _ in range(self.random.choice([1, 1, 1, 2, 2, 3]))
        ]
        return " AND ".join(some)

    def equality(self, aliases: Sequence[str], outer: Sequence[str]) -> str:
        column = self.column(aliases)
        if len(aliases) == 1 and self.chance(15):
            column = column.partition(".")[2]
        kind = self.random.randrange(100)
        if kind < 50:
            return f"{column} = {self.value()}"
        if kind < 60:
            return f"({self.value()}) = ({column})"
        if kind < 70:
            return f"{column} IN ({self.value()}, {self.value()})"
        if kind < 75:
            return f"({column}, {self.column(aliases)}) = ({self.value()}, {self.value()})"
        return f"{column} = {self.column([*aliases, *outer] if self.chance(30) else aliases)}"

    def predicate(
        self, aliases: Sequence[str], outer: Sequence[str], tables: Sequence[str], depth: int
    ) -> str:
        """Return a condition that fixes nothing."""
        one, other = self.equality(aliases, outer), self.equality(aliases, outer)
        column = self.column(aliases)
        options = [
            f"({one} OR {other})",
            f"NOT ({one} AND {other})",
            f"NOT {one}",
            f"({one} AND {other})",
            f"{column} <> {self.value()}",
            f"{column} IS NULL",
            f"{column} BETWEEN 0 AND {self.value()}",
            f"{column} NOT IN ({self.value()})",
            f"COALESCE({column}, 1) = {self.value()}",
            f"{column} + 1 = {self.value()}",
            f"CASE WHEN {one} THEN 1 ELSE {column} = 2 END",
            f"{column} IS {self.value()}",
            f"({one}) IS NOT TRUE",
        ]
        kind = self.random.randrange(len(options) + 5)
        if kind < len(options):
            return options[kind]
        if self.budget < 1:
            return options[0]
        around = [*outer, *aliases]
        if kind < len(options) + 2:
            exists = self.pick("EXISTS", "NOT EXISTS")
            inner = (
                self.small("1", around, tables) if self.chance(80) else self.query(around, tables)
            )
            return f"{exists} ({inner})"
        if kind < len(options) + 4:
            return f"{column} {self.pick('IN', 'NOT IN')} ({self.small('p', around, tables)})"
        return f"({self.scalar(around, tables)}) = {self.value()}"


HAS_RIGHT_JOINS = sqlite3.sqlite_version_info >= (3, 39)


@dataclass
class Counts:
    """What a run has done."""

    statements: int = 0
    not_understood: int = 0
    fixed: int = 0  # statements with a fixed occurrence
    compared: int = 0  # results after a write that was said not to affect them
    changed: int = 0  # results that other writes have changed


@dataclass
class Comparison:
    """An SQLite database with small tables. ``find``: what is tested."""

    database: sqlite3.Connection
    find: Find
    counts: Counts = field(default_factory=Counts)

    def run(self, seed: int, size: int) -> None:
        """Compare a SELECT's result before and after random writes."""
        random = Random(seed)
        text, parameters = Maker(random, size).statement()
        found = self.find(text, "sqlite")
        self.counts.statements += 1
        if found is None:
            self.counts.not_understood += 1
            return
        self.counts.fixed += any(one.fixed for one in found)
        rows = {table: self._fill(table, random) for table in TABLES}
        sql = text.replace("%s", "?")
        try:
            before = self._read(sql, parameters)
        except sqlite3.OperationalError as error:
            # SQLite looks to the right of a join first, and not at the SELECT around it.
            if "tables to its right" not in str(error):
                raise
            self.counts.not_understood += 1
            return
        for _ in range(WRITES):
            table = random.choice(TABLES)
            images = self._write(table, rows[table], random)
            after = self._read(sql, parameters)
            if all(is_outside(found, table, image, parameters) for image in images):
                self.counts.compared += 1
                if before != after:
                    raise Different(f"{text} {parameters}: {table} {images} {found}")
            else:
                self.counts.changed += before != after
            before = after

    def _fill(self, table: str, random: Random) -> list[Row]:
        rows = [random_row(random) for _ in range(random.randrange(1, 5))]
        self.database.execute(f"DELETE FROM {table}")
        self.database.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", rows)
        return rows

    def _write(self, table: str, rows: list[Row], random: Random) -> list[Row]:
        """Insert, update or delete one or two rows. Return their old and new images."""
        images = []
        for _ in range(random.choice([1, 1, 2])):
            kind = random.randrange(3)
            if rows and kind:
                at = random.randrange(len(rows))
                images.append(rows[at])
                if kind == 1:
                    del rows[at]
                else:
                    rows[at] = random_row(random)
                    images.append(rows[at])
            else:
                rows.append(random_row(random))
                images.append(rows[-1])
        self.database.execute(f"DELETE FROM {table}")
        self.database.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", rows)
        return images

    def _read(self, sql: str, parameters: Sequence[int]) -> list[str]:
        return sorted(map(repr, self.database.execute(sql, parameters)))


def random_row(random: Random) -> Row:
    return tuple(VALUES[random.randrange(len(VALUES))] for _ in COLUMNS)


def is_outside(
    found: Sequence[Occurrence], table: str, row: Row, parameters: Sequence[int]
) -> bool:
    """Return whether a row can affect no occurrence of its table."""
    image = dict(zip(COLUMNS, row, strict=True))
    return all(
        any(
            image[fixed.column]
            not in [
                one.value if isinstance(one, Literal) else parameters[one.index]
                for one in fixed.values
            ]
            for fixed in one.fixed
        )
        for one in found
        if one.table == table
    )


@contextmanager
def compare(find: Find) -> Iterator[Comparison]:
    """Open a database for comparisons."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("BEGIN")
        for table in TABLES:
            database.execute(f"CREATE TABLE {table} (p INTEGER, q INTEGER, r INTEGER)")
        yield Comparison(database, find)
