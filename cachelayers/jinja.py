"""The door in Jinja2: ``CacheLayersExtension``, for the options of a template engine."""

from __future__ import annotations

from jinja2 import Environment
from jinja2.ext import Extension

from cachelayers.hashing import build_cache_id, build_hashed_url, build_integrity


def hashed_static(path: object) -> str:
    """Return the URL of a static file with the id of its content."""
    return build_hashed_url(path)


def cache_id(path: object) -> str:
    """Return the id of a static file's content alone."""
    return build_cache_id(path)


def static_integrity(path: object) -> str:
    """Return ``sha384-...`` for an attribute ``integrity``, or nothing where there is no file."""
    return build_integrity(path)


class CacheLayersExtension(Extension):
    """Adds the functions that are tags in Django's templates."""

    def __init__(self, environment: Environment) -> None:
        """Make them known to every template, imported ones too."""
        super().__init__(environment)
        environment.globals.update(
            hashed_static=hashed_static,
            cache_id=cache_id,
            static_integrity=static_integrity,
        )
