"""Which kind of layer a Django cache is, and which errors it raises. Imports no client library."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from cachelayers.conf import backend_of

_LAYERS = "cachelayers.backends.layered.layers"
ANY_CACHE = f"{_LAYERS}.plain.PlainLayer"

# Backends that are not ours, whose classes cannot say it themselves.
_registered = {
    "diskcache.DjangoCache": f"{_LAYERS}.diskcache.DiskcacheLayer",
    "django.core.cache.backends.dummy.DummyCache": f"{_LAYERS}.plain.LocalLayer",
    "django.core.cache.backends.locmem.LocMemCache": f"{_LAYERS}.plain.LocalLayer",
    "django.core.cache.backends.memcached.PyLibMCCache": f"{_LAYERS}.plain.PylibmcLayer",
    "django.core.cache.backends.memcached.PyMemcacheCache": f"{_LAYERS}.memcached.MemcachedLayer",
    "django.core.cache.backends.redis.RedisCache": f"{_LAYERS}.redis.CoreRedisLayer",
    "django_redis.cache.RedisCache": f"{_LAYERS}.redis.DjangoRedisLayer",
}


def register_layer(backend_path: str, layer_path: str) -> None:
    """Make a class derived from ``Layer`` the kind of layer of a backend and of its subclasses.

    Both are dotted paths; nothing is imported before it is needed. For a class of your own, set
    its attribute ``layer_class`` instead.
    """
    _registered[backend_path] = layer_path


def layer_class_of(backend: type) -> type[Any]:
    """Return the kind of layer of a backend, a Layer: that of its nearest class that has one."""
    registered = {loaded(path): layer_path for path, layer_path in _registered.items()}
    for cls in backend.__mro__:
        if kind := registered.get(cls) or vars(cls).get("layer_class"):
            return _imported(kind)
    return _imported(ANY_CACHE)


def declared_errors(attribute: str) -> tuple[type[BaseException], ...]:
    """Return the errors that backends in CACHES and kinds of layers declare in an attribute."""
    declared = (error for kind in _kinds() for error in getattr(kind, attribute, ()))
    errors = (loaded(error) if isinstance(error, str) else error for error in declared)
    return tuple(dict.fromkeys(error for error in errors if error is not None))


def loaded(path: str) -> Any:
    """Return what a dotted path names, or None if its module is not imported.

    A client that nobody has imported has raised nothing. To import it here would cost each process
    that uses no Redis a tenth of a second.
    """
    module, _, name = path.rpartition(".")
    return getattr(sys.modules.get(module), name, None)


def _kinds() -> Iterator[type]:
    """Yield the registered layers, then backends and layers of CACHES, except unusable ones."""
    for path in _registered.values():
        with suppress(ImportError):  # what cannot be imported has raised nothing
            yield _imported(path)
    for params in settings.CACHES.values():
        if (backend := backend_of(params)) is not None:
            yield backend
            with suppress(ImportError):
                yield layer_class_of(backend)


def _imported(kind: type | str) -> type[Any]:
    cls: type[Any] = import_string(kind) if isinstance(kind, str) else kind
    return cls
