"""Names of a package whose modules are imported at the first use of a name.

A package's `__init__` is its interface. With this, it costs only the modules that are needed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any


def lazy_exports(package: str, names: Mapping[str, Iterable[str]]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package. ``names``: those that each of its modules has."""
    modules = {name: f"{package}.{module}" for module, found in names.items() for name in found}

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(modules[name]), name)
        setattr(sys.modules[package], name, value)  # it is found without this function from now on
        return value

    return find
