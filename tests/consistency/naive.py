"""Plausible but wrong rules, with which the checker must find stale values."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from django.db import connections

from cachelayers.invalidation import dependencies, dialects, execute_wrapper, incarnations, units
from cachelayers.invalidation.dependencies import Capture
from cachelayers.invalidation.log import Dependency, LogUnreadable, ProcessLog, Reading, log_of
from cachelayers.invalidation.sql import conditions
from cachelayers.invalidation.sql.analysis import Analysis
from cachelayers.invalidation.tags import row_tag, table_tag
from tests.consistency import writers

# A slow reader meets the race more often; the right rule does not depend on it.
SLOW_READER_SECONDS = 0.01


def switch_in(rule: str) -> None:
    """Replace the rule of this process by a naive one; "ours" leaves it as it is."""
    RULES[rule]()


def keep() -> None:
    """Change nothing."""


def take_position_late() -> None:
    """Store with the position at the end of the compute: the stale-set race."""
    dependencies = Capture.dependencies

    def dependencies_now(self: Capture) -> list[Dependency]:
        time.sleep(SLOW_READER_SECONDS)
        found = dependencies(self)
        try:
            return [
                Dependency(one.database, *log_of(one.database).refresh(), one.tags) for one in found
            ]
        except LogUnreadable:  # it was moved too often
            return found

    Capture.dependencies = dependencies_now  # type: ignore[method-assign]


def take_ids_for_positions() -> None:
    """Take ids for positions on PostgreSQL, which commits them out of order."""

    class IdDialect(dialects.PostgresDialect):
        position = "id"
        watermark = dialects.Dialect.watermark
        new = dialects.Dialect.new
        from_watermark = dialects.Dialect.from_watermark
        gives_positions_again = False
        new_since = dialects.Dialect.new_since
        invisible = dialects.Dialect.invisible
        is_beyond = dialects.Dialect.is_beyond

    def dialect_for(vendor: str, late_commit_seconds: float, **options: Any) -> Any:
        return IdDialect() if vendor == "postgresql" else dialects.Dialect()

    vars(incarnations)["dialect_for"] = dialect_for
    vars(writers)["LINGER_SECONDS"] = 0.05  # the longer, the more commit out of order


def take_any_log_for_ours() -> None:
    """Do not check where a log began, nor whether it went back."""
    names = ("_is_own_log", "_continues", "_reaches")
    for name in names:
        setattr(ProcessLog, name, lambda self, *arguments: True)


def read_the_log_once() -> None:
    """Take the first read of the log as complete."""
    refresh = ProcessLog.refresh

    def refresh_once(self: ProcessLog) -> Reading:
        return self.reading or refresh(self)

    ProcessLog.refresh = refresh_once  # type: ignore[method-assign]


def leave_schemas_unlogged() -> None:
    """Log no change of a schema, and make no triggers after it."""

    def change_schema(
        connection: Any, analysis: Any, tags: list[str], execute: Callable[[], Any]
    ) -> Any:
        return execute()

    vars(execute_wrapper)["change_schema"] = change_schema


def capture_where_it_was_begun() -> None:
    """Assign a task's reads only to the value that was computed when the task was started."""

    def listening_captures() -> list[Capture]:
        found = dependencies.current_capture()
        return [] if found is None else [found]

    for module in (dependencies, execute_wrapper):
        vars(module)["listening_captures"] = listening_captures


def store_what_is_uncommitted() -> None:
    """Read from the cache, and store, within a transaction that has written."""
    vars(execute_wrapper)["note_write"] = lambda connection: None
    vars(execute_wrapper)["is_written_to"] = lambda connection: False
    vars(units)["is_written_to"] = lambda connection: False
    units.Unit.note_write = lambda self, connection: None  # type: ignore[method-assign]
    units.Unit.is_dirty = lambda self: False  # type: ignore[method-assign]


def share_keys() -> None:
    """Leave the tenant out of the key."""
    tenants["name in key"] = lambda tenant: ""


def refresh_in_threads() -> None:
    """Compute in a thread without the request's context."""

    def elsewhere(compute: Callable[[], Any]) -> Any:
        def compute_and_close() -> Any:
            try:
                return compute()
            finally:
                connections.close_all()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(copy_context().run, compute_and_close).result()

    tenants["compute"] = elsewhere


# What a query reads


def change_read_tags(change: Callable[[Analysis, Any, list[str]], list[str]]) -> None:
    """Let a function change the tags on which a query's result depends.

    It gets the analysis of the statement, its parameters, and the tags by our rules.
    """
    read_tags = Analysis.read_tags

    def changed_tags(self: Analysis, parameters: Any) -> list[str]:
        return change(self, parameters, read_tags(self, parameters))

    Analysis.read_tags = changed_tags  # type: ignore[method-assign]


def take_any_parameter_for_the_key() -> None:
    """Depend on the rows whose keys are among the parameters, whatever column they are for."""

    def of_rows(analysis: Analysis, parameters: Any, tags: list[str]) -> list[str]:
        if not parameters or not analysis.tables:
            return tags
        return [
            row_tag(table.name, str(value)) for table in analysis.tables for value in parameters
        ]

    change_read_tags(of_rows)


def take_one_table_for_all() -> None:
    """Depend on the first table only, as if all conditions were on it."""

    def of_one(analysis: Analysis, parameters: Any, tags: list[str]) -> list[str]:
        return [table_tag(table.name) for table in analysis.tables[:1]]

    change_read_tags(of_one)


def take_or_for_and() -> None:
    """Depend on the rows that one side of an OR is about."""

    def conjuncts_of(node: Any) -> Iterator[Any]:
        for one in conjuncts(node):
            if conditions.kind_of(one) == "Or":
                yield from conjuncts_of(conditions.part(one, "this"))
                yield from conjuncts_of(conditions.part(one, "expression"))
            else:
                yield one

    conjuncts = conditions.conjuncts_of
    conditions.conjuncts_of = conjuncts_of


def ignore_counters() -> None:
    """Depend on no table with a counter, as if nothing else of it were read."""

    def without(analysis: Analysis, parameters: Any, tags: list[str]) -> list[str]:
        return [tag for tag in tags if "programs_writer" not in tag]

    change_read_tags(without)


tenants: dict[str, Callable[[Any], Any]] = {
    "name in key": str,
    "compute": lambda compute: compute(),
}
RULES: dict[str, Callable[[], None]] = {
    "ours": keep,
    "late": take_position_late,
    "ids": take_ids_for_positions,
    "any log": take_any_log_for_ours,
    "read once": read_the_log_once,
    "unlogged schemas": leave_schemas_unlogged,
    "own context": capture_where_it_was_begun,
    "uncommitted": store_what_is_uncommitted,
    "shared keys": share_keys,
    "threads": refresh_in_threads,
    "any key": take_any_parameter_for_the_key,
    "one table": take_one_table_for_all,
    "no counters": ignore_counters,
    "or for and": take_or_for_and,
}
