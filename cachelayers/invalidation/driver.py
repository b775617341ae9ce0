"""Ask a database for the cache's own sake, past Django's cursor: no wrapper, no log sees it.

For questions that come at moments nobody can foresee, such as once a minute: tests that count
queries, and tools that show them, are spared.
"""

from __future__ import annotations

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper


def rows_of(
    connection: BaseDatabaseWrapper, statement: str, *, answers_before: int = 0
) -> list[tuple[Any, ...]]:
    """Return the rows of a statement without parameters, after so many others in its message."""
    connection.validate_no_broken_transaction()
    connection.ensure_connection()
    with connection.wrap_database_errors:
        cursor = connection.connection.cursor()
        try:
            cursor.execute(statement)
            for _ in range(answers_before):
                cursor.nextset()
            return list(cursor.fetchall())
        finally:
            cursor.close()
