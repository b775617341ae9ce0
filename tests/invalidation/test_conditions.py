"""The conditions of a SELECT show which rows of each table can affect its result."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import version

import pytest

from cachelayers.invalidation.sql.conditions import (
    MOST_VALUES,
    Fixed,
    Literal,
    Occurrence,
    Parameter,
    occurrences_in,
    parsed,
    plain_lookup,
)
from tests.environment import PROJECT

VENDORS = ("sqlite", "postgresql", "mysql")


def shown(text: str, vendor: str = "sqlite") -> str | None:
    """Return the occurrences in a short form: `book(id=%0)`, `%0` for the first parameter."""
    found = occurrences_in(text, vendor)
    return None if found is None else ", ".join(map(show, found))


def show(one: Occurrence) -> str:
    return f"{one.table}({' & '.join(map(show_fixed, one.fixed))})" if one.fixed else one.table


def show_fixed(fixed: Fixed) -> str:
    values = "|".join(
        f"%{one.index}" if isinstance(one, Parameter) else repr(one.value) for one in fixed.values
    )
    through = "".join(f" by {table}.{column}" for table, column in fixed.through)
    return f"{fixed.column}={values}{through}"


def test_the_types_say_table_column_and_values() -> None:
    assert occurrences_in(
        "SELECT * FROM Book b JOIN author a ON a.id = b.author_id"
        " WHERE a.id = %s AND b.id IN (1, 'x')",
        "postgresql",
    ) == (
        Occurrence(
            "book",
            (
                Fixed("id", (Literal(1), Literal("x")), ()),
                Fixed("author_id", (Parameter(0),), (("author", "id"),)),
            ),
        ),
        Occurrence("author", (Fixed("id", (Parameter(0),), ()),)),
    )


CONJUNCTS = {
    "t.id = %s": "t(id=%0)",
    "%s = t.id": "t(id=%0)",
    "id = %s": "t(id=%0)",
    "t.ID = 5": "t(id=5)",
    "t.id = 007": "t(id=7)",
    "t.id = '007'": "t(id='007')",
    "t.id = -5": "t",
    "t.id = 5.0": "t",
    "t.id = 5e0": "t",
    "t.id = 99999999999999999999": "t",
    "t.id = NULL": "t",
    "t.id = 'it''s'": "t",
    "t.id IS NULL": "t",
    "t.id IS NOT NULL": "t",
    "t.id = t.a AND t.a = %s": "t(a=%0 & id=%0 by t.a)",
    "t.id IN (%s, %s, 5)": "t(id=%0|%1|5)",
    "t.id IN (%s, 5 + 1)": "t",
    "t.id IN (%s, NULL)": "t",
    "t.id NOT IN (%s)": "t",
    "t.id IN (SELECT 5)": "t",
    "t.id <> %s": "t",
    "t.id >= %s AND t.id <= %s": "t",
    "t.id BETWEEN %s AND %s": "t",
    "t.a BETWEEN 1 AND 2 AND t.id = %s": "t(id=%0)",
    "t.a = %s AND t.b = %s": "t(a=%0 & b=%1)",
    "((t.a = %s) AND (t.b = %s AND NOT t.c = %s))": "t(a=%0 & b=%1)",
    "(t.a = %s OR t.b = %s)": "t",
    "t.a = %s OR t.b = %s AND t.c = 5": "t",
    "(t.a = %s OR t.b = %s) AND t.c = 5": "t(c=5)",
    "NOT (t.a = %s)": "t",
    "NOT t.a = %s AND t.b = %s": "t(b=%1)",
    "NOT (NOT t.a = %s)": "t",
    "CASE WHEN t.a = %s THEN 1 ELSE 0 END": "t",
    "CASE WHEN t.a = 1 THEN t.b = 1 END AND t.c = 5": "t(c=5)",
    "(t.a = %s) = (t.b = %s)": "t",
    "(t.a = %s) IS NOT FALSE": "t",
    "t.a = %s IS NOT NULL": "t",
    "LOWER(t.a) = %s": "t",
    "t.a = LOWER(%s)": "t",
    "CAST(t.a AS integer) = %s": "t",
    "t.a = CAST(%s AS integer)": "t",
    "t.a = %s COLLATE x": "t",
    "t.a COLLATE x = %s": "t",
    "t.a + 1 = %s": "t",
    "t.a = %s + 1": "t",
    "t.a = %s - -1": "t",
    "- t.a = %s": "t",
    "t.a = %s % 3": "t",
    "t.a LIKE %s": "t",
    "(t.a, t.b) = (%s, %s)": "t(a=%0 & b=%1)",
    "(t.a, t.b) IN ((%s, %s))": "t",
    "(t.a, t.b) = (SELECT 1, 2)": "t",
    "t.a = (SELECT %s)": "t",
    "s.t.a = %s": "t",  # of which schema?
    "x.a = %s": "t",
    "EXISTS (SELECT 1 WHERE t.a = %s)": "t",
    "COALESCE(t.a = %s, 1)": "t",
}


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_conjunct_fixes_a_column(vendor: str) -> None:
    for condition, expected in CONJUNCTS.items():
        assert shown(f"SELECT t.x FROM t WHERE {condition}", vendor) == expected, condition


@pytest.mark.parametrize(
    ("condition", "vendor"),
    [
        ("t.a = ANY(%s)", "postgresql"),
        ("t.a = ANY(ARRAY[%s])", "postgresql"),
        ("t.a = %s::integer", "postgresql"),
        ("t.a::integer = %s", "postgresql"),
        ("t.a IS NOT DISTINCT FROM %s", "postgresql"),
        ("t.a = citext 'x'", "postgresql"),
        ("t.a = E'x'", "postgresql"),
        ("t.a = U&'x'", "postgresql"),
        ("t.a = $$x$$", "postgresql"),
        ("t.a OPERATOR(pg_catalog.=) %s", "postgresql"),
        ("t.a = %s AT TIME ZONE 'x'", "postgresql"),
        ("t.a @> %s = t.b", "postgresql"),
        ("t.a = 'x'\n'y'", "postgresql"),
        ("user = %s", "postgresql"),  # the database's user, not a column
        ("current_user = %s", "postgresql"),
        ("t.a = 0x5", "mysql"),
        ("T.a = %s", "mysql"),  # depends on the server
        ("t.a <=> %s", "mysql"),
        ("BINARY t.a = %s", "mysql"),
        ("t.a = BINARY %s", "mysql"),
        ("t.a = _utf8 %s", "mysql"),
        ("t.a = 'x' 'y'", "mysql"),
        ('t.a = "x"', "mysql"),  # a string or a column
        ("t.a = %s DIV 2", "mysql"),
        ("t.a = %s AND t.b XOR t.c", "mysql"),
        ("t.a = %s || t.b", "mysql"),
        ("t.a = %s && t.b", "mysql"),
        ("!t.a = %s", "mysql"),
        ("t.a = %s --1 OR t.b", "mysql"),
        ("t.a = %s /*! OR t.b */", "mysql"),
        ("@x := t.a = %s", "mysql"),
        ("t.a IS %s", "sqlite"),
        ("t.a = %s IN (0)", "sqlite"),
        ("t.a = %s ISNULL", "sqlite"),
        ("t.a = %s MATCH t.b", "sqlite"),
        ("t.a = %s COLLATE NOCASE", "sqlite"),
        ("t.a = %s ->> 'x'", "sqlite"),
    ],
)
def test_what_a_database_means_otherwise_fixes_nothing(condition: str, vendor: str) -> None:
    assert shown(f"SELECT 1 FROM t WHERE {condition}", vendor) in {"t", None}


JOINS = {
    "t JOIN u ON u.t_id = t.id WHERE t.id = %s": "t(id=%0), u(t_id=%0 by t.id)",
    "t INNER JOIN u ON (u.t_id = t.id AND u.b = %s) WHERE t.id = %s": (
        "t(id=%1), u(b=%0 & t_id=%1 by t.id)"
    ),
    "t, u WHERE u.t_id = t.id AND t.id = %s": "t(id=%0), u(t_id=%0 by t.id)",
    "t CROSS JOIN u WHERE u.t_id = t.id AND t.id = %s": "t(id=%0), u(t_id=%0 by t.id)",
    "t JOIN u ON u.t_id = t.id OR t.id = %s": "t, u",
    "t LEFT JOIN u ON u.t_id = t.id WHERE t.id = %s": "t(id=%0), u(t_id=%0 by t.id)",
    "t LEFT JOIN u ON u.t_id = t.id AND t.id = %s": "t, u(t_id=%0 by t.id)",
    "t LEFT OUTER JOIN u ON u.t_id = t.id AND u.b = %s": "t, u(b=%0)",
    "t LEFT JOIN u ON u.t_id = t.id WHERE u.b = %s": "t, u(b=%0)",
    "t LEFT JOIN u ON u.t_id = t.id WHERE u.t_id = %s": "t, u(t_id=%0)",
    "t LEFT JOIN u ON u.t_id = t.id JOIN v ON v.u_id = u.id WHERE v.u_id = %s": (
        "t, u(id=%0 by v.u_id), v(u_id=%0)"
    ),
    "t LEFT JOIN (u JOIN v ON v.u_id = u.id) ON u.t_id = t.id AND u.id = %s": (
        "t, u(id=%0), v(u_id=%0 by u.id)"
    ),
    "t LEFT JOIN (u JOIN v ON v.u_id = u.id AND v.u_id = 3) ON u.t_id = t.id": (
        "t, u(id=3 by v.u_id), v(u_id=3)"
    ),
    "t LEFT JOIN (u LEFT JOIN v ON v.u_id = u.id AND u.id = %s) ON u.t_id = t.id": (
        "t, u, v(u_id=%0 by u.id)"
    ),
    "(t JOIN u ON u.t_id = t.id) WHERE t.id = %s": "t(id=%0), u(t_id=%0 by t.id)",
    "t JOIN u ON u.t_id = t.id JOIN v ON v.u_id = u.id WHERE t.id = %s AND u.id = %s": (
        "t(id=%0), u(id=%1 & t_id=%0 by t.id), v(u_id=%1 by u.id)"
    ),
    "t a JOIN t b ON b.parent_id = a.id WHERE a.id = %s": "t(id=%0), t(parent_id=%0 by t.id)",
    "t a, t b WHERE a.id = %s": "t(id=%0), t",
    "t a, t a WHERE a.id = %s": "t, t",
    "t, u WHERE id = %s": "t, u",  # of which?
    "t RIGHT JOIN u ON u.t_id = t.id AND t.id = %s": "t, u",
    "t FULL JOIN u ON u.t_id = t.id WHERE t.id = %s": "t, u",
    "t NATURAL JOIN u WHERE t.id = %s": "t, u",
    "t JOIN u USING (id) WHERE t.id = %s": "t, u",
    "s.t JOIN u ON u.t_id = t.id WHERE t.id = %s": "t(id=%0), u(t_id=%0 by t.id)",
    "t AS x WHERE t.id = %s": "t",
    "t AS x, (SELECT * FROM u WHERE u.id = %s) AS y WHERE y.id = x.id": "t, u(id=%0)",
    "t, (SELECT * FROM u) AS y WHERE y.id = %s AND y.t_id = t.id": "t, u",
    "(SELECT id FROM t) AS y WHERE id = %s": "t",
    "(SELECT id FROM t WHERE id = %s) WHERE id = 5": "t(id=%0)",
    "(SELECT id FROM t WHERE id = %s UNION SELECT id FROM u) AS y": "t(id=%0), u",
}


@pytest.mark.parametrize("vendor", VENDORS)
def test_joins_lead_equality_on(vendor: str) -> None:
    for sources, expected in JOINS.items():
        text = f"SELECT 1 FROM {sources}"
        assert shown(text, vendor) == expected or (
            vendor == "mysql" and " FULL " in text  # where it is an alias
        ), sources


@pytest.mark.parametrize(
    ("sources", "vendor", "expected"),
    [
        ("t STRAIGHT_JOIN u ON u.a = t.a WHERE u.a = %s", "mysql", "t(a=%0 by u.a), u(a=%0)"),
        ("`t` WHERE `t`.`id` = %s", "mysql", "t(id=%0)"),
        ("[t] WHERE [t].`id` = %s", "sqlite", "t(id=%0)"),
        ('"T" WHERE T.id = %s', "postgresql", "t"),
        ('"T" WHERE "T".id = %s', "postgresql", "t(id=%0)"),
        ("T WHERE t.id = %s", "postgresql", "t(id=%0)"),
        ("ONLY t WHERE t.id = %s", "postgresql", "t"),
        ("t AS x(a, id) WHERE x.id = %s", "postgresql", "t"),
        ("t TABLESAMPLE system(5) WHERE t.id = %s", "postgresql", "t"),
        ("t, generate_series(1, 2) AS g WHERE t.id = %s", "postgresql", "t"),
        ("t, unnest(t.a) AS g WHERE t.id = %s", "postgresql", "t"),
        ("t, LATERAL (SELECT 1 FROM u WHERE a = t.a AND u.b = 5) x", "postgresql", "t, u(b=5)"),
        ("t, (VALUES (1)) AS w WHERE t.id = %s", "postgresql", "t"),
        ("t PARTITION (p0) WHERE t.id = %s", "mysql", "t"),
        ("t USE INDEX (i) WHERE t.id = %s", "mysql", "t"),
        ("t FOR UPDATE", "mysql", "t"),
        ("t WHERE t.id = %s FOR UPDATE OF t SKIP LOCKED", "postgresql", "t(id=%0)"),
        ("t WHERE t.id = %s LOCK IN SHARE MODE", "mysql", "t(id=%0)"),
        ("t PIVOT (SUM(a) FOR b IN (1, 2)) WHERE t.id = %s", "postgresql", "t"),
        ("t INDEXED BY i WHERE t.id = %s", "sqlite", None),
        ("'t' WHERE id = %s", "sqlite", None),
    ],
)  # fmt: skip
def test_sources_of_one_database(sources: str, vendor: str, expected: str | None) -> None:
    assert shown(f"SELECT 1 FROM {sources}", vendor) == expected


AROUND = {
    # What a SELECT makes of its rows does not matter.
    "SELECT DISTINCT a FROM t WHERE id = %s GROUP BY a HAVING b = 5 ORDER BY 1 LIMIT 2": "t(id=%0)",
    "SELECT COUNT(*) FILTER (WHERE b = 5), SUM(a) OVER (PARTITION BY b) FROM t": "t",
    "SELECT COUNT(*) FROM t HAVING t.b = 5": "t",
    "SELECT t.b = 5 FROM t": "t",
    "SELECT 1 FROM t ORDER BY t.b = 5": "t",
    # Each SELECT has its own conditions.
    "SELECT 1 FROM t WHERE id = %s UNION ALL SELECT 1 FROM t WHERE id = %s": "t(id=%0), t(id=%1)",
    "SELECT 1 FROM t WHERE id = 1 EXCEPT SELECT 1 FROM t": "t(id=1), t",
    "SELECT (SELECT MAX(a) FROM u WHERE u.t_id = t.id) FROM t WHERE t.id = %s": (
        "t(id=%0), u(t_id=%0 by t.id)"
    ),
    "SELECT 1 FROM t WHERE t.a = %s AND EXISTS (SELECT 1 FROM u WHERE u.a = t.a AND u.b = 5)": (
        "t(a=%0), u(b=5 & a=%0 by t.a)"
    ),
    "SELECT 1 FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.t_id = t.id AND t.id = 5)": (
        "t, u(t_id=5 by t.id)"
    ),
    "SELECT 1 FROM t WHERE t.id = 5 OR EXISTS (SELECT 1 FROM u WHERE u.t_id = t.id)": "t, u",
    "SELECT 1 FROM t WHERE t.id = 5 AND NOT EXISTS (SELECT 1 FROM t WHERE t.id = 6)": (
        "t(id=5), t(id=6)"
    ),
    "SELECT 1 FROM t WHERE t.id = 5 AND a IN (SELECT a FROM t x WHERE x.b = t.b AND x.id = t.id)": (
        "t(id=5), t(id=5 by t.id)"
    ),
    "SELECT 1 FROM t LEFT JOIN u ON u.id = 1 AND EXISTS (SELECT 1 FROM v WHERE v.a = u.id)": (
        "t, u(id=1), v"
    ),
    "SELECT 1 FROM t WHERE t.id = 5 AND t.a = (SELECT 1 FROM (SELECT a FROM u WHERE u.b = 6) x)": (
        "t(id=5), u(b=6)"
    ),
    # WITH
    "WITH w AS (SELECT * FROM t WHERE id = 1) SELECT 1 FROM w JOIN u ON u.id = w.id": "t(id=1), u",
    "WITH w AS (SELECT * FROM t) SELECT 1 FROM w WHERE w.id = %s": "t",
    "WITH u AS (SELECT * FROM t WHERE id = 1) SELECT 1 FROM u WHERE u.id = 2": "t(id=1)",
    "WITH u AS (SELECT 1 AS id) SELECT 1 FROM s.u WHERE u.id = 2": "u(id=2)",
    "SELECT 1 FROM (WITH u AS (SELECT 1 AS id) SELECT 1 FROM u) AS x, u WHERE u.id = 2": "u(id=2)",
    "WITH t AS (SELECT * FROM t WHERE id = 1) SELECT 1 FROM t WHERE id = 2": "t",
    "WITH a AS (SELECT * FROM b WHERE id = 1), b AS (SELECT 1) SELECT 1 FROM a, b": "b",
    "WITH RECURSIVE w(id) AS (SELECT id FROM t WHERE id = %s UNION"
    " SELECT t.id FROM t JOIN w ON t.parent_id = w.id) SELECT 1 FROM w": "t(id=%0), t",
    "WITH w AS (SELECT 1 AS a), x AS (SELECT * FROM w, t WHERE t.a = w.a AND t.b = 1)"
    " SELECT 1 FROM x": "t(b=1)",
    # No table
    "SELECT 1": "",
    "(SELECT 1 FROM t WHERE a = 1) UNION (SELECT 1 FROM u WHERE a = 2 LIMIT 1) LIMIT 1": (
        "t(a=1), u(a=2)"
    ),
    "SELECT 1 FROM t WHERE id = 1;": "t(id=1)",
    "SELECT 1 -- a comment\nFROM t /* WHERE id = 2 */ WHERE id = 1": "t(id=1)",
    "SELECT '%%s', \"a\", 'FROM x' FROM t WHERE id = %s": "t(id=%0)",
    "SELECT 1 %% 2, %s FROM t WHERE a LIKE '%%x' AND id = %s": "t(id=%1)",
}  # fmt: skip


@pytest.mark.parametrize("vendor", VENDORS)
def test_each_select_has_conditions_of_its_own(vendor: str) -> None:
    for text, expected in AROUND.items():
        assert shown(text, vendor) == expected, text


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "gibberish of nobody's",
        "SELECT 1 FROM t WHERE",
        "SELECT 1 FROM t WHERE id = %s; SELECT 1 FROM t",
        "UPDATE t SET a = 1 WHERE id = 1",
        "DELETE FROM t WHERE id = 1",
        "INSERT INTO u SELECT * FROM t WHERE id = 1",
        "WITH gone AS (DELETE FROM t WHERE id = 1 RETURNING id) SELECT * FROM gone",
        "SELECT * INTO u FROM t WHERE id = 1",
        "EXPLAIN SELECT 1 FROM t",
        "SELECT 1 FROM t WHERE id = %(key)s",
        "SELECT 1 FROM t WHERE id = $1",
        "SELECT 1 FROM t WHERE a = '%s' AND id = %s",
        "SELECT 1 FROM t WHERE id = %s /* %s */",
        'SELECT 1 AS "%s" FROM t WHERE id = %s',
        "SELECT 1 FROM t WHERE a = b %s AND id = %s",
        "SELECT 1 FROM t WHERE a %b AND id = %s",
        "SELECT 1 FROM t WHERE _p0 = %s",
        "SELECT /*+ hint */ 1 FROM t WHERE id = %s",
        "SELECT {d '2020-01-01'} FROM t WHERE id = %s",
        "SELECT {{ x }} FROM t WHERE id = %s",
        "SELECT 1 FROM t WHERE id = " + "(" * 40 + "1" + ")" * 40,
        "SELECT 1 FROM t WHERE id = %s" + " " * 20_000,
    ],
)
def test_what_is_not_understood_has_no_occurrences(text: str, vendor: str) -> None:
    assert occurrences_in(text, vendor) is None


@pytest.mark.parametrize("parameter", [":a", "@a", "?", "?1", "$a"])
def test_parameters_of_other_kinds_on_sqlite_count_among_them(parameter: str) -> None:
    text = f"SELECT 1 FROM t WHERE a = {parameter} AND id = %s"
    assert occurrences_in(text, "sqlite") is None


def test_other_databases_are_not_understood() -> None:
    assert occurrences_in("SELECT 1 FROM t WHERE t.id = 1", "oracle") is None


def test_a_long_list_fixes_nothing() -> None:
    def listed(count: int) -> str | None:
        return shown(f"SELECT 1 FROM t WHERE t.id IN ({', '.join(['%s'] * count)})")

    assert listed(MOST_VALUES) not in {"t", None}
    assert listed(MOST_VALUES + 1) == "t"


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "text",
    [
        'SELECT "t"."id", "t"."a" FROM "t" WHERE "t"."id" = %s',
        'SELECT "t"."id" FROM "t" WHERE ("t"."a" IN (%s, %s, %s)) ORDER BY "t"."b" DESC LIMIT 5',
        'SELECT DISTINCT "t"."id" AS "x", 2 AS "y" FROM "t" WHERE "t"."id" = %s FOR UPDATE',
        'SELECT %s AS "a" FROM "T" WHERE "T"."Id" = %s LIMIT 1',
    ],
)
def test_plain_lookups_are_found_without_the_parser(text: str, vendor: str) -> None:
    text = text.replace('"', "`") if vendor == "mysql" else text
    found = plain_lookup(text, vendor)
    assert found is not None
    assert found == parsed(text, vendor)


@pytest.mark.parametrize(
    ("text", "vendor"),
    [
        ('SELECT "t"."id" FROM "t" WHERE "t"."id" = %s', "mysql"),
        ('SELECT "t"."%s" FROM "t" WHERE "t"."id" = %s', "sqlite"),
        ('UPDATE "t" SET "a" = %s WHERE "t"."id" = %s', "sqlite"),
        ('SELECT "t"."id" FROM "t" WHERE "t"."id" = %s UNION SELECT 1 FROM "t"', "sqlite"),
    ],
)
def test_a_lookup_that_is_not_plain_is_left_to_the_parser(text: str, vendor: str) -> None:
    assert plain_lookup(text, vendor) is None


def test_a_process_that_parses_nothing_does_not_import_the_parser() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_PARSER], cwd=PROJECT, check=True)


WITHOUT_PARSER = """
import sys

from cachelayers.invalidation.sql.conditions import occurrences_in

assert occurrences_in('SELECT "t"."a" FROM "t" WHERE "t"."id" = %s', "sqlite")
assert "sqlglot" not in sys.modules
assert occurrences_in("SELECT 1 FROM t", "sqlite")
assert "sqlglot.dialects.sqlite" in sys.modules
assert "sqlglot.dialects.mysql" not in sys.modules
"""


def test_the_parser_is_of_a_series_that_was_tried() -> None:
    """Before you widen the range, run the tests of this folder with both of its ends.

    Each series of sqlglot may give its nodes or their parts other names.
    """
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    [given] = [one for one in project["dependencies"] if one.startswith("sqlglot")]
    assert given == "sqlglot>=27,<31"
    assert 27 <= int(version("sqlglot").partition(".")[0]) < 31
