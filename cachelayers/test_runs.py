"""Hide the cache's own statements from tests that count or forbid queries.

The log and the database backend run their statements within it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import django.db
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.exceptions import NotNow


class OwnStatements:
    """Whether ``assertNumQueries`` counts the cache's statements."""

    are_counted = False


class ForbiddenByTest(NotNow, django.db.OperationalError):
    """The test allows no queries. The next test may, so this is no fault of the database."""


def is_test_run() -> bool:
    """Return whether Django's test environment is set up, by any runner."""
    utils = sys.modules.get("django.test.utils")  # only imported in test runs
    return utils is not None and hasattr(utils._TestState, "saved_data")


def count_own_statements() -> None:
    """From now on, count the cache's own statements too, for tests of what the cache costs."""
    OwnStatements.are_counted = True


@contextmanager
def apart_from_test(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Run our own statements so that a test neither counts nor has to allow them.

    ``assertNumQueries`` is about the project's queries. A test without a database (SimpleTestCase,
    or pytest without the mark) may call cached functions too. Django and pytest-django then raise
    an exception that is no database error; this block raises ForbiddenByTest instead.
    """
    if not is_test_run():
        yield
        return
    are_counted = connection.force_debug_cursor
    connection.force_debug_cursor = are_counted and OwnStatements.are_counted
    try:
        yield
    except (AssertionError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and type(error) is not RuntimeError:
            raise
        raise ForbiddenByTest(str(error)) from error
    finally:
        connection.force_debug_cursor = are_counted
