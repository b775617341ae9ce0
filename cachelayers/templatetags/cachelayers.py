"""The door in Django's templates: ``{% load cachelayers %}``."""

from __future__ import annotations

from django import template
from django.template.base import Parser, Token

from cachelayers.fragments.given import compile_options
from cachelayers.fragments.nodes import (
    FragmentNode,
    Surroundings,
    UncachedNode,
    name_hole,
    register_hole,
)
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


@register.tag
def fragment(parser: Parser, token: Token) -> FragmentNode:
    """Keep what is between the tags, until something that it was made of changes.

    ``{% fragment "name" argument ... timeout=600 stale=60 tags="word,word" using="alias" %}``:
    the arguments tell variants apart; the options are those of recall().
    """
    tag, *parts = token.split_contents()
    surroundings = Surroundings(parser, token)
    options = compile_options(parser, tag, parts)
    nodelist = parser.parse((f"end{tag}",))
    parser.delete_first_token()
    return FragmentNode(nodelist, options, surroundings)


@register.tag
def uncached(parser: Parser, token: Token) -> UncachedNode:
    """Render what is between the tags for each request, within a fragment that is kept.

    With what the context holds around the outermost fragment.
    """
    hole = name_hole(parser)
    nodelist = parser.parse((f"end{token.split_contents()[0]}",))
    parser.delete_first_token()
    node = UncachedNode(nodelist, hole)
    register_hole(node, parser)
    return node
