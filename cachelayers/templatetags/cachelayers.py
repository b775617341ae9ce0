"""The template tags: ``{% load cachelayers %}``.

The tags compile to the nodes of `fragments`, and to calls of `staticfiles`.
"""

from __future__ import annotations

from django import template
from django.template.base import NodeList, Parser, Token

from cachelayers.fragments import (
    FragmentNode,
    FragmentsNode,
    TagSurroundings,
    UncachedNode,
    compile_loop,
    compile_options,
    name_hole,
    register_hole,
    wrapper_of_hole,
)
from cachelayers.staticfiles import build_cache_id, build_hashed_url, build_integrity

register = template.Library()


@register.simple_tag
def hashed_static(path: object) -> str:
    """Write the URL of a static file with its content id; ``as name`` stores it in a variable."""
    return build_hashed_url(path)


@register.simple_tag
def cache_id(path: object) -> str:
    """Write the content id of a static file."""
    return build_cache_id(path)


@register.simple_tag
def static_integrity(path: object) -> str:
    """Write ``sha384-...`` for an ``integrity`` attribute, or "" if the file does not exist."""
    return build_integrity(path)


@register.tag
def fragment(parser: Parser, token: Token) -> FragmentNode:
    """Cache the block until the data that it was made from changes.

    ``{% fragment "name" argument ... timeout=600 stale=60 tags="tag,tag" using="alias" %}``: the
    arguments select the variant; the options are those of recall().
    """
    tag, *parts = token.split_contents()
    surroundings = TagSurroundings(parser, token)
    options = compile_options(parser, tag, parts)
    nodelist = parser.parse((f"end{tag}",))
    parser.delete_first_token()
    return FragmentNode(nodelist, options, surroundings)


@register.tag
def fragments(parser: Parser, token: Token) -> FragmentsNode:
    """Cache the block for each item of a list, with one bulk read and write.

    ``{% fragments "name" for item in items ... %}``: the item selects the variant; further
    arguments and the options are those of ``{% fragment %}``. The part after ``{% empty %}`` is
    rendered for an empty list.
    """
    tag, *parts = token.split_contents()
    surroundings = TagSurroundings(parser, token)
    loop, others = compile_loop(parser, tag, parts)
    options = compile_options(parser, tag, others)
    nodelist, nodelist_empty = parser.parse(("empty", f"end{tag}")), NodeList()
    if parser.next_token().contents == "empty":
        nodelist_empty = parser.parse((f"end{tag}",))
        parser.delete_first_token()
    return FragmentsNode(nodelist, nodelist_empty, loop, options, surroundings)


@register.tag
def uncached(parser: Parser, token: Token) -> UncachedNode:
    """Render the block for each request, within a cached fragment.

    The context is the one around the outermost fragment.
    """
    name, wrapper = name_hole(parser), wrapper_of_hole(parser)
    nodelist = parser.parse((f"end{token.split_contents()[0]}",))
    parser.delete_first_token()
    node = UncachedNode(nodelist, name, wrapper)
    register_hole(node, parser)
    return node
