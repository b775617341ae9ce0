"""Databases for the checker: those of the test run, migrated."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _migrated(django_db_setup: None) -> None:
    """Migrate; the checker's processes open connections of their own."""
