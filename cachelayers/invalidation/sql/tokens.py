"""Split a statement into tokens, and find functions that read the clock or the session.

Statements and view definitions are parsed from these tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple


class Sort(Enum):
    """The kind of a token."""

    WORD = auto()
    QUOTED = auto()  # a quoted name; on MySQL maybe a string
    VALUE = auto()  # a string, a number or a placeholder
    SIGN = auto()


class Token(NamedTuple):
    """A keyword or name, a string's content, or one sign."""

    text: str
    sort: Sort

    @property
    def is_name(self) -> bool:
        """Return whether it may be a name."""
        return self.sort is Sort.WORD or self.sort is Sort.QUOTED

    @property
    def is_quoted(self) -> bool:
        """Return whether it is a quoted name."""
        return self.sort is Sort.QUOTED

    @property
    def word(self) -> str:
        """Return a keyword in lower case, or a sign; "" for quoted names and values."""
        is_word = self.sort is Sort.WORD or self.sort is Sort.SIGN
        return self.text.lower() if is_word else ""


def names(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


BLOCK = "block"  # a comment; its end is searched for separately, because PostgreSQL nests comments
# First the alternatives that hide their content, then the others. Each is linear in time.
LINE_COMMENT = {
    "postgresql": r"--[^\n\r]*",
    # On MySQL, `5--1` is a subtraction.
    "mysql": r"--(?=[\s\x00-\x1f]|\Z)[^\n]*|\#[^\n]*",
    "sqlite": r"--[^\n]*",
}
PLAIN_STRING = r"'(?:[^']|'')*(?:'|\Z)"
BACKSLASHED = r"'(?:[^'\\]|\\.|'')*(?:'|\\?\Z)"
# A string continued in the next line is read like its beginning.
ESCAPED = rf"[eE]{BACKSLASHED}(?:\s*?\n(?:\s|--[^\n\r]*[\n\r])*{BACKSLASHED})*"
STRING = {
    "postgresql": rf"{ESCAPED}|[nNbBxX]?{PLAIN_STRING}",
    "postgresql with backslashes": rf"[eEnNbBxX]?{BACKSLASHED}",
    "mysql": rf"[nNbBxX]?{PLAIN_STRING}",
    "mysql with backslashes": rf"[nNbBxX]?{BACKSLASHED}",
    "sqlite": rf"[xX]?{PLAIN_STRING}",
}
DOUBLE = r'"(?P<double>(?:[^"]|"")*)(?:"|\Z)'
DOUBLE_BACKSLASHED = r'"(?P<double>(?:[^"\\]|\\.|"")*)(?:"|\\?\Z)'
BACK = r"`(?P<back>(?:[^`]|``)*)(?:`|\Z)"
BRACKET = r"\[(?P<bracket>[^\]]*)(?:\]|\Z)"
DOLLAR = r"\$(?P<tag>(?:[^\W\d]\w*)?)\$(?P<dollar>.*?)(?:\$(?P=tag)\$|\Z)"
QUOTED = {
    "postgresql": f"{DOUBLE}|{DOLLAR}",
    "mysql": f"{DOUBLE}|{BACK}",
    "mysql with backslashes": f"{DOUBLE_BACKSLASHED}|{BACK}",
    "sqlite": f"{DOUBLE}|{BACK}|{BRACKET}",
}
WORD = {
    "postgresql": r"[^\W\d][\w$]*",
    # On MySQL, names may begin with a digit.
    "mysql": r"(?:\d*[^\W\d]|\$)[\w$]*",
    "sqlite": r"[^\W\d][\w$]*",
}


@lru_cache(maxsize=8)
def pattern_for(vendor: str, *, backslashes: bool) -> re.Pattern[str]:
    """Return the pattern of one token."""
    flavour = f"{vendor} with backslashes" if backslashes else vendor
    return re.compile(
        rf"""
          (?P<space>\s+|{LINE_COMMENT[vendor]})
        | (?P<{BLOCK}>/\*)
        | (?P<string>{STRING.get(flavour, STRING[vendor])})
        | {QUOTED.get(flavour, QUOTED[vendor])}
        | (?P<placeholder>%\(\w+\)s|%s(?!\w)|%%|\$\d+|\?\d*)
        | (?P<word>{WORD[vendor]})
        | (?P<number>\d+)
        | (?P<sign>.)
        """,
        re.VERBOSE | re.DOTALL,
    )


def read_tokens(text: str, vendor: str) -> list[Token]:
    """Return the tokens of a text, read with the vendor's default settings."""
    return list(tokens_of(text, vendor, backslashes=vendor == "mysql"))


def readings_of(text: str, vendor: str, *, has_backslashes: bool | None) -> list[list[Token]]:
    """Return the tokens of a text, for each way in which it may be read.

    ``has_backslashes``: whether a backslash in a string escapes the next character; None: not
    known.
    """
    ways = [has_backslashes] if has_backslashes is not None else [True, False]
    if "\\" not in text:
        ways = ways[:1]
    is_run = [True, False] if vendor == "mysql" and RUN_COMMENT.search(text) else [True]
    found: list[list[Token]] = []
    for way in ways:
        for runs in is_run:
            tokens = list(tokens_of(text, vendor, backslashes=way, runs_comments=runs))
            if tokens not in found:
                found.append(tokens)
    return found


def tokens_of(
    text: str, vendor: str, *, backslashes: bool, runs_comments: bool = True
) -> Iterator[Token]:
    """Yield the tokens. Anything that may be a name is one, as a MySQL string in double quotes.

    ``runs_comments``: read the content of MySQL's `/*! ... */`, which it runs depending on its
    version.
    """
    match_token, at = pattern_for(vendor, backslashes=backslashes).match, 0
    runs_comments = runs_comments and vendor == "mysql"
    while (match := match_token(text, at)) is not None:
        at, group = match.end(), match.lastgroup
        if group == BLOCK:
            is_run = RUN_COMMENT.match(text, match.start()) if runs_comments else None
            at = is_run.end() if is_run else end_of_comment(text, at, nests=vendor == "postgresql")
        elif group != "space":
            yield token_of(match, str(group))


def token_of(match: re.Match[str], group: str) -> Token:
    """Return the token that was matched."""
    if group in {"word", "sign"}:
        return Token(match[0], Sort.WORD if group == "word" else Sort.SIGN)
    if group in MARKS:
        return Token(match[group].replace(MARKS[group] * 2, MARKS[group]), Sort.QUOTED)
    if group == "string":
        return Token(match[0].partition("'")[2].removesuffix("'"), Sort.VALUE)
    return Token(match[group], Sort.VALUE)


MARKS = {"double": '"', "back": "`", "bracket": "]"}
RUN_COMMENT = re.compile(r"/\*M?!\d*")
COMMENT_MARK = re.compile(r"/\*|\*/")


def end_of_comment(text: str, at: int, *, nests: bool) -> int:
    """Return the end of a block comment that begins just before ``at``."""
    depth = 1
    for mark in COMMENT_MARK.finditer(text, at):
        if mark[0] == "*/":
            depth -= 1
        elif nests:
            depth += 1
        if not depth:
            return mark.end()
    return len(text)


class Source(Enum):
    """A source of values other than tables, in words that follow "it"."""

    CLOCK = "takes a value from the clock or from chance"
    SESSION = "takes a value that only its own session has"
    SQL = "runs SQL that is given as a text"


def by_name(**names: str) -> dict[str, Source]:
    return {name: Source[source] for source, some in names.items() for name in some.split()}


# Functions by name. On PostgreSQL, other volatile functions count as SESSION.
FUNCTIONS: dict[str, dict[str, Source]] = {
    "postgresql": by_name(
        CLOCK="now clock_timestamp statement_timestamp transaction_timestamp timeofday age"
        " current_time current_timestamp localtime localtimestamp"
        " random random_normal normal_rand gen_random_uuid gen_random_bytes uuidv4 uuidv7"
        " uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4 gen_salt",
        SESSION="current_setting current_schemas current_schema current_query currval lastval"
        " nextval setval pg_backend_pid inet_client_addr inet_client_port txid_current"
        " pg_current_xact_id row_security_active pg_has_role has_table_privilege"
        " has_column_privilege has_schema_privilege has_database_privilege"
        " has_function_privilege has_sequence_privilege pg_my_temp_schema show_limit",
        SQL="crosstab crosstab2 crosstab3 crosstab4 crosstabn connectby xpath_table ts_stat"
        " ts_rewrite query_to_xml query_to_xmlschema query_to_xml_and_xmlschema table_to_xml"
        " table_to_xmlschema table_to_xml_and_xmlschema schema_to_xml schema_to_xmlschema"
        " schema_to_xml_and_xmlschema database_to_xml database_to_xmlschema"
        " database_to_xml_and_xmlschema cursor_to_xml cursor_to_xmlschema"
        " dblink dblink_exec dblink_fetch dblink_open dblink_send_query dblink_get_result",
    ),
    "mysql": by_name(
        CLOCK="now curdate curtime current_date current_time current_timestamp localtime"
        " localtimestamp sysdate unix_timestamp utc_date utc_time utc_timestamp"
        " rand uuid uuid_short random_bytes sys_guid uuid_v4 uuid_v7",
        SESSION="user current_user session_user system_user current_role connection_id"
        " last_insert_id row_count found_rows is_used_lock is_free_lock get_lock release_lock"
        " release_all_locks nextval lastval setval load_file",
    ),
    "sqlite": by_name(
        CLOCK="random randomblob rand current_date current_time current_timestamp",
        SESSION="changes total_changes last_insert_rowid load_extension",
    ),
}
# Keywords that are called without parentheses and are not preceded by a dot.
WORDS: dict[str, dict[str, Source]] = {
    "postgresql": by_name(
        CLOCK="current_date current_time current_timestamp localtime localtimestamp",
        SESSION="current_user session_user system_user user current_role current_schema",
    ),
    "mysql": by_name(
        CLOCK="current_date current_time current_timestamp localtime localtimestamp"
        " utc_date utc_time utc_timestamp",
        SESSION="current_user current_role",
    ),
    "sqlite": by_name(CLOCK="current_date current_time current_timestamp"),
}
# Variables that Django reads when it first needs to know the MySQL server.
SERVER_SETTINGS = names(
    "sql_mode default_storage_engine sql_auto_is_null lower_case_table_names version "
    "max_allowed_packet transaction_isolation tx_isolation"
)
# SQLite's time functions, which return the present time unless their argument is a column.
SQLITE_TIMES = frozenset({"date", "time", "datetime", "julianday", "unixepoch", "timediff"})
POSTGRES_TIMES = frozenset({"now", "today", "tomorrow", "yesterday"})  # as in DATE 'today'
# Volatile on PostgreSQL, but their result carries no data.
HARMLESS = names(
    "set_config pg_sleep pg_sleep_for pg_sleep_until pg_notify setseed pg_advisory_lock "
    "pg_advisory_xact_lock pg_advisory_lock_shared pg_advisory_xact_lock_shared"
)
KNOWN_FUNCTIONS = HARMLESS.union(*FUNCTIONS.values())
# Functions of SQLite's extensions and of Django: pure, although not declared deterministic.
PURE_ON_SQLITE = names(
    "bm25 highlight snippet match matchinfo offsets optimize fts3_tokenizer fts5 "
    "fts5_source_id rtreecheck rtreedepth rtreenode any_value stddev_pop stddev_samp var_pop "
    "var_samp rand load_extension"
)


def sources_in(tokens: Sequence[Token], vendor: str) -> frozenset[Source]:
    """Return the sources of a statement's values other than tables, by its text alone."""
    find_more = {"postgresql": more_on_postgres, "mysql": more_on_mysql, "sqlite": more_on_sqlite}
    return frozenset([*named_sources(tokens, vendor), *find_more[vendor](tokens)])


def named_sources(tokens: Sequence[Token], vendor: str) -> Iterator[Source]:
    """Yield the sources of functions, and of keywords that act like one."""
    functions, words = FUNCTIONS[vendor], WORDS[vendor]
    for name in calls_in(tokens):
        if name in functions:
            yield functions[name]
    before = ""
    for token in tokens:
        if token.sort is Sort.WORD and before != "." and (source := words.get(token.word)):
            yield source
        before = token.word


def calls_in(tokens: Sequence[Token]) -> frozenset[str]:
    """Return all names before a parenthesis, functions or not."""
    return frozenset(
        token.text.lower()
        for token, after in pairwise(tokens)
        if after.word == "(" and token.is_name
    )


def more_on_postgres(tokens: Sequence[Token]) -> Iterator[Source]:
    """Yield the clock for special strings that PostgreSQL reads as the present time."""
    if any(
        token.sort is Sort.VALUE and token.text.lower().strip() in POSTGRES_TIMES
        for token in tokens
    ):
        yield Source.CLOCK


def more_on_mysql(tokens: Sequence[Token]) -> Iterator[Source]:
    """Yield the session for variables, and for MariaDB's sequence expressions."""
    words = ["", *(token.word for token in tokens), "", ""]
    for before, word, after in zip(words, words[1:], words[2:], strict=False):
        if word == "@" and after != "@" and not (before == "@" and after in SERVER_SETTINGS):
            yield Source.SESSION
        if word == "value" and before in {"next", "previous"}:
            yield Source.SESSION


def more_on_sqlite(tokens: Sequence[Token]) -> Iterator[Source]:
    """Yield the clock for a time function without an argument, or with 'now' or a parameter."""
    for number, token in enumerate(tokens):
        opens = number + 1 < len(tokens) and tokens[number + 1].word == "("
        if opens and token.word in SQLITE_TIMES and is_of_no_column(tokens[number + 2 :]):
            yield Source.CLOCK
        if opens and token.word == "strftime":
            later = [one.word for one in tokens[number + 2 :]]
            comma = later.index(",") if "," in later else len(later)
            if is_of_no_column(tokens[number + 3 + comma :]) or ")" in later[:comma]:
                yield Source.CLOCK
    if any(token.sort is Sort.VALUE and token.text.lower() == "now" for token in tokens):
        yield Source.CLOCK


def is_of_no_column(arguments: Sequence[Token]) -> bool:
    """Return whether the first argument does not begin with a name."""
    return not arguments or not arguments[0].is_name
