"""The kinds of layers, and how a LayeredCache makes one from an alias of CACHES."""

from __future__ import annotations

from typing import Any

from cachelayers.backends.kinds import layer_class_of
from cachelayers.backends.layered.layers.base import (
    TOMBSTONE,
    Change,
    ChangingLayer,
    Layer,
    LayerEntry,
    native_seconds,
    unwrap,
    wrap,
)
from cachelayers.backends.layered.layers.plain import PlainLayer
from cachelayers.conf import backend_of, cache_settings


def make_layer(alias: str, limit_seconds: float) -> Layer:
    """Return the layer of an alias of CACHES or of LOCATION, with a cache object of its own."""
    params = dict(cache_settings(alias))
    backend = backend_of(params)
    if backend is None:
        # As Django's handler, which raises for a backend that cannot be imported.
        raise LookupError(f"CACHES[{alias!r}] has no BACKEND that can be imported.")
    params.pop("BACKEND")
    location = params.pop("LOCATION", "")
    kind: type[Layer] = layer_class_of(backend)
    return kind.make(alias, backend, location, params, limit_seconds)


def is_local_alias(alias: Any) -> bool:
    """Return whether an alias of CACHES stores its entries in the process's memory."""
    backend = backend_of(cache_settings(alias)) if isinstance(alias, str) else None
    return backend is not None and bool(layer_class_of(backend).is_local)


__all__ = [
    "TOMBSTONE",
    "Change",
    "ChangingLayer",
    "Layer",
    "LayerEntry",
    "PlainLayer",
    "is_local_alias",
    "make_layer",
    "native_seconds",
    "unwrap",
    "wrap",
]
