"""The kind of layer of a Django cache, and the errors it raises. Imports no client library.

``layered.layers`` makes layers by it, ``faults`` classifies errors by it.
"""

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

# Backends of other packages, whose classes have no ``layer_class``.
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
    """Return the subclass of Layer for a backend: that of its nearest base class that has one."""
    registered = {loaded(path): layer_path for path, layer_path in _registered.items()}
    for cls in backend.__mro__:
        if kind := registered.get(cls) or vars(cls).get("layer_class"):
            return _imported(kind)
    return _imported(ANY_CACHE)


def declared_errors(attribute: str) -> tuple[type[BaseException], ...]:
    """Return the errors that backends in CACHES and their layers declare in an attribute."""
    declared = (error for kind in _kinds() for error in getattr(kind, attribute, ()))
    errors = (loaded(error) if isinstance(error, str) else error for error in declared)
    return tuple(dict.fromkeys(error for error in errors if error is not None))


def loaded(path: str) -> Any:
    """Return the object at a dotted path, or None if its module is not imported.

    A client that is not imported has raised nothing. Importing it here would cost each process
    without Redis a tenth of a second.
    """
    module, _, name = path.rpartition(".")
    return getattr(sys.modules.get(module), name, None)


def _kinds() -> Iterator[type]:
    """Yield the registered layers, then the backends in CACHES and their layers."""
    for path in _registered.values():
        with suppress(ImportError):  # a class that cannot be imported has raised nothing
            yield _imported(path)
    for params in settings.CACHES.values():
        if (backend := backend_of(params)) is not None:
            yield backend
            with suppress(ImportError):
                yield layer_class_of(backend)


def _imported(kind: type | str) -> type[Any]:
    cls: type[Any] = import_string(kind) if isinstance(kind, str) else kind
    return cls
