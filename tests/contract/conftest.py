"""Fixtures of the contract tests."""

from tests.contract.fixtures import clock, entries, make_cache

__all__ = ["clock", "entries", "make_cache"]
