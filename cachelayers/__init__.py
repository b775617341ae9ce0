"""Multi-layer caching for Django, kept true to the data it was made from."""

from __future__ import annotations

from cachelayers.warming import warmer

__all__ = ["warmer"]
__version__ = "0.1.0"
