"""The pytest plugin: the fixture ``caching``, and caches of its own for each test.

pytest loads it in every project of an environment. It imports nothing of Django until a test of a
project that uses the package begins.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

# They open the transaction in which the block has to begin.
FIXTURES_OF_DATABASES = (
    "db",
    "transactional_db",
    "django_db_reset_sequences",
    "django_db_serialized_rollback",
)


@pytest.fixture(autouse=True)
def _empty_caches() -> None:
    """Have the test find nothing that an earlier test has stored in memory or in a cache's file."""
    if is_used():
        from cachelayers.testing import forget_cached_values

        forget_cached_values()


@pytest.fixture
def caching(request: pytest.FixtureRequest) -> Iterator[None]:
    """Store the values of recall(), @cached and fragments during the test, also in ``db``."""
    for name in FIXTURES_OF_DATABASES:
        if name in request.fixturenames:
            request.getfixturevalue(name)
    from cachelayers.testing import caching as block

    with block():
        yield


def is_used() -> bool:
    """Return whether Django is set up with the package among its apps."""
    registry = sys.modules.get("django.apps")
    return (
        registry is not None
        and registry.apps.apps_ready
        and registry.apps.is_installed("cachelayers")
    )
