"""The tests' own app."""

from __future__ import annotations

import sys

from django.apps import AppConfig


class LibraryConfig(AppConfig):
    """Is in every process that the tests start."""

    name = "tests.library"

    def ready(self) -> None:
        """Have no log pruned by the way: one unit in some hundreds would take more statements."""
        from cachelayers.invalidation import pruning

        pruning.ONE_IN = sys.maxsize
