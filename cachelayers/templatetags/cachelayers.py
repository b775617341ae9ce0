"""The door in Django's templates: ``{% load cachelayers %}``."""

from __future__ import annotations

from django import template

from cachelayers.hashing import build_cache_id, build_hashed_url, build_integrity

register = template.Library()


@register.simple_tag
def hashed_static(path: object) -> str:
    """Write the URL of a static file with the id of its content; ``as name`` keeps it."""
    return build_hashed_url(path)


@register.simple_tag
def cache_id(path: object) -> str:
    """Write the id of a static file's content alone."""
    return build_cache_id(path)


@register.simple_tag
def static_integrity(path: object) -> str:
    """Write ``sha384-...`` for an attribute ``integrity``, or nothing where there is no file."""
    return build_integrity(path)
