"""Tell what a statement takes from elsewhere than from tables: the clock, the session, other SQL.

No row changes when such a value does, so no entry that was made of it is ever invalidated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from itertools import pairwise

from cachelayers.invalidation.tokens import Sort, Token, names


class Source(Enum):
    """Where a value comes from, in words that follow "it"."""

    CLOCK = "takes a value from the clock or from chance"
    SESSION = "takes a value that only its own session has"
    SQL = "runs SQL that is given as a text"


def by_name(**names: str) -> dict[str, Source]:
    return {name: Source[source] for source, some in names.items() for name in some.split()}


# Functions, by name. On PostgreSQL those that are volatile and not here count as SESSION.
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
# The same without parentheses: words, where no dot precedes them.
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
# Variables of MySQL that Django asks for when it first needs to know the server.
SERVER_SETTINGS = names(
    "sql_mode default_storage_engine sql_auto_is_null lower_case_table_names version "
    "max_allowed_packet transaction_isolation tx_isolation"
)
# SQLite's functions of a time: of the present one where it is not a column's.
SQLITE_TIMES = frozenset({"date", "time", "datetime", "julianday", "unixepoch", "timediff"})
POSTGRES_TIMES = frozenset({"now", "today", "tomorrow", "yesterday"})  # as in DATE 'today'
# Volatile on PostgreSQL, and yet what they return says nothing.
HARMLESS = names(
    "set_config pg_sleep pg_sleep_for pg_sleep_until pg_notify setseed pg_advisory_lock "
    "pg_advisory_xact_lock pg_advisory_lock_shared pg_advisory_xact_lock_shared"
)
KNOWN_FUNCTIONS = HARMLESS.union(*FUNCTIONS.values())
# Of SQLite's extensions, and of Django's: no less pure for not being said to be deterministic.
PURE_ON_SQLITE = names(
    "bm25 highlight snippet match matchinfo offsets optimize fts3_tokenizer fts5 "
    "fts5_source_id rtreecheck rtreedepth rtreenode any_value stddev_pop stddev_samp var_pop "
    "var_samp rand load_extension"
)


def sources_in(tokens: Sequence[Token], vendor: str) -> frozenset[Source]:
    """Return from where else than from tables a statement takes values, by its text alone."""
    find_more = {"postgresql": more_on_postgres, "mysql": more_on_mysql, "sqlite": more_on_sqlite}
    return frozenset([*named_sources(tokens, vendor), *find_more[vendor](tokens)])


def named_sources(tokens: Sequence[Token], vendor: str) -> Iterator[Source]:
    """Yield the sources of functions, and of words that stand for one."""
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
    """Return all names that a parenthesis follows: functions, and words that are none."""
    return frozenset(
        token.text.lower()
        for token, after in pairwise(tokens)
        if after.word == "(" and token.is_name
    )


def more_on_postgres(tokens: Sequence[Token]) -> Iterator[Source]:
    """Yield the clock for what PostgreSQL reads as a time of its own."""
    if any(
        token.sort is Sort.VALUE and token.text.lower().strip() in POSTGRES_TIMES
        for token in tokens
    ):
        yield Source.CLOCK


def more_on_mysql(tokens: Sequence[Token]) -> Iterator[Source]:
    """Yield the session for variables, and for sequences in MariaDB's words."""
    words = ["", *(token.word for token in tokens), "", ""]
    for before, word, after in zip(words, words[1:], words[2:], strict=False):
        if word == "@" and after != "@" and not (before == "@" and after in SERVER_SETTINGS):
            yield Source.SESSION
        if word == "value" and before in {"next", "previous"}:
            yield Source.SESSION


def more_on_sqlite(tokens: Sequence[Token]) -> Iterator[Source]:
    """Yield the clock where a function of a time is given none, or 'now', or a parameter."""
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
    """Tell whether the first argument begins with something else than a name."""
    return not arguments or not arguments[0].is_name
