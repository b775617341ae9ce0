"""Databases for the checker: the run's own, migrated."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _migrated(django_db_setup: None) -> None:
    """Have the tables; the checker's processes open connections of their own."""
