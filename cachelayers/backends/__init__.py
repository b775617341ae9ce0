"""The cache backends that CACHES may name, and their kinds of layers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cachelayers.backends.database import DatabaseCache
    from cachelayers.backends.kinds import register_layer
    from cachelayers.backends.layered import LayeredCache
    from cachelayers.backends.memory import MemoryCache

__all__ = ["DatabaseCache", "LayeredCache", "MemoryCache", "register_layer"]

# Imported on demand: a MemoryCache alone needs neither a database nor this app's models.
_MODULES = {
    "DatabaseCache": "cachelayers.backends.database",
    "LayeredCache": "cachelayers.backends.layered",
    "MemoryCache": "cachelayers.backends.memory",
    "register_layer": "cachelayers.backends.kinds",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
