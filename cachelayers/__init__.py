"""Multi-layer caching for Django, with entries that become invalid when their data changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cachelayers.decorators import cached
    from cachelayers.invalidation.invalidate import ainvalidate, invalidate
    from cachelayers.invalidation.tags import invalidates
    from cachelayers.invalidation.units import unit_of_work
    from cachelayers.lookup import arecall, recall
    from cachelayers.staticfiles import build_cache_id
    from cachelayers.warming import warmer

__all__ = [
    "ainvalidate",
    "arecall",
    "build_cache_id",
    "cached",
    "invalidate",
    "invalidates",
    "recall",
    "unit_of_work",
    "warmer",
]
__version__ = "0.1.0"

# Imported lazily: Django imports this module before the settings and apps that these need.
_MODULES = {
    "ainvalidate": "cachelayers.invalidation.invalidate",
    "arecall": "cachelayers.lookup",
    "build_cache_id": "cachelayers.staticfiles",
    "cached": "cachelayers.decorators",
    "invalidate": "cachelayers.invalidation.invalidate",
    "invalidates": "cachelayers.invalidation.tags",
    "recall": "cachelayers.lookup",
    "unit_of_work": "cachelayers.invalidation.units",
    "warmer": "cachelayers.warming",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
