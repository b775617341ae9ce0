"""Pieces of templates that are kept, know what they are made of, and never hold what is private.

The way of one: a tag (nodes, or the door in Jinja2) asks serving for it; keys names it; recall
finds it or has it rendered, while watching, seen and sources notice what it is made of; markup is
what is kept.
"""

from cachelayers.fragments.keys import check_name, digest_of, word_of
from cachelayers.fragments.nodes import (
    FragmentNode,
    FragmentsNode,
    TagSurroundings,
    UncachedNode,
    name_hole,
    register_hole,
    wrapper_of_hole,
)
from cachelayers.fragments.sources import names_in_templates
from cachelayers.fragments.tag_options import OPTION_NAMES, compile_loop, compile_options

__all__ = [
    "OPTION_NAMES",
    "FragmentNode",
    "FragmentsNode",
    "TagSurroundings",
    "UncachedNode",
    "check_name",
    "compile_loop",
    "compile_options",
    "digest_of",
    "name_hole",
    "names_in_templates",
    "register_hole",
    "word_of",
    "wrapper_of_hole",
]
