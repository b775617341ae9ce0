"""A table name outside of strings and comments is found, in any surroundings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cachelayers.invalidation.sql.statements import parse_statement, tables_read
from cachelayers.invalidation.sql.tokens import read_tokens

INNER = st.text(alphabet="abc '\"`#-/*\\$\n;()[]%?", max_size=12)


def string(inner: str) -> str:
    return "'" + inner.replace("'", "''") + "'"


def backslashed(inner: str) -> str:
    return "'" + inner.replace("\\", "\\\\").replace("'", "\\'") + "'"


def comment(inner: str) -> str:
    return "/* " + inner.replace("*/", "").replace("/*", "").replace("*/", "") + " */"


def line(inner: str) -> str:
    return "-- " + inner.replace("\n", " ") + "\n"


COMMON = st.one_of(INNER.map(comment), INNER.map(line), st.sampled_from([" 1 ", " a.b ", "(c)"]))
PARTS = {
    "sqlite": st.one_of(
        COMMON,
        INNER.map(string),
        INNER.map(lambda inner: '"' + inner.replace('"', '""') + '"'),
        INNER.map(lambda inner: "[" + inner.replace("]", "") + "]"),
        INNER.map(lambda inner: "`" + inner.replace("`", "``") + "`"),
    ),
    "postgresql": st.one_of(
        COMMON,
        INNER.map(string),
        INNER.map(lambda inner: f"E{backslashed(inner)}"),
        INNER.map(lambda inner: f"$q$ {inner.replace('$', '')} $q$"),
        INNER.map(lambda inner: f"/* {comment(inner)} {comment(inner)} */"),
        INNER.map(lambda inner: '"' + inner.replace('"', '""') + '"'),
        st.sampled_from([" a # b ", " j #>> k ", "[1]", " x[2:3] "]),
    ),
    "mysql": st.one_of(
        COMMON,
        INNER.map(backslashed),
        INNER.map(lambda inner: f"# {inner}".replace("\n", " ") + "\n"),
        INNER.map(lambda inner: "`" + inner.replace("`", "``") + "`"),
        st.sampled_from([" 5--1 ", " /*!50000 x */ ", " /*M!100000 ' */ "]),
    ),
}


@given(st.data(), st.sampled_from(sorted(PARTS)))
def test_a_table_among_strings_and_comments_is_found(data: st.DataObject, vendor: str) -> None:
    before = data.draw(st.lists(PARTS[vendor], max_size=5))
    after = data.draw(st.lists(PARTS[vendor], max_size=5))
    text = " ".join(["SELECT 1", *before, "FROM book", *after])

    assert "book" in parse_statement(text, vendor).names


@given(st.text(max_size=30), st.sampled_from(sorted(PARTS)))
def test_all_that_is_no_space_and_no_comment_is_in_a_token(text: str, vendor: str) -> None:
    for token in read_tokens(text, vendor):
        assert token.text in text or token.is_quoted


def tables(text: str, vendor: str = "postgresql") -> set[str]:
    return set(tables_read(read_tokens(text, vendor)))


def test_tables_are_distinguished_from_other_words_after_from() -> None:
    assert tables("SELECT EXTRACT(YEAR FROM day), TRIM(x FROM y) FROM a, b AS c, ONLY d") == {
        *("a", "b", "d")
    }
    assert tables("SELECT * FROM (SELECT 1 FROM a) x JOIN s.b ON (a.x IS DISTINCT FROM z), c") == {
        *("a", "b", "c")
    }
    assert tables("WITH r (n) AS (SELECT 1 FROM a) SELECT * FROM r, generate_series(1, 2)") == {"a"}
    assert tables("SELECT f(a, (SELECT 1 FROM b)), c FROM d GROUP BY 1, 2") == {"b", "d"}
    assert tables("DELETE FROM a USING b WHERE a.x IN (SELECT y FROM c)") == {"a", "c"}
    assert tables("SELECT * FROM (a CROSS JOIN b), LATERAL (SELECT 1 FROM c) d") == {"a", "b", "c"}
