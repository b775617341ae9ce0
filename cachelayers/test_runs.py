"""What is different while a project's tests run. Asked before statements of the cache's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import django.db
from django.db.backends.base.base import BaseDatabaseWrapper

from cachelayers.exceptions import NotNow


class OwnStatements:
    """Whether ``assertNumQueries`` counts them."""

    are_counted = False


class ForbiddenByTest(NotNow, django.db.OperationalError):
    """The test allows no queries; the next one may, so nothing is out of order."""


def is_test_run() -> bool:
    """Tell whether Django's test environment is set up, by whichever runner."""
    utils = sys.modules.get("django.test.utils")  # not imported for a site that runs no tests
    return utils is not None and hasattr(utils._TestState, "saved_data")


def count_own_statements() -> None:
    """From now on, count the cache's own statements too, for tests of what the cache costs."""
    OwnStatements.are_counted = True


@contextmanager
def apart_from_test(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Run statements of our own that a test neither counts nor has to allow.

    ``assertNumQueries`` is about the project's queries. A test without a database (SimpleTestCase,
    pytest without its mark) calls cached functions, too. Django and pytest-django then raise what
    is no error of a database, and here it becomes one.
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
