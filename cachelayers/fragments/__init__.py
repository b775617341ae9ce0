"""Cached template fragments: the tags, and everything that serves, renders and keys a fragment.

A tag (`nodes` for Django, `jinja` for Jinja2) asks `serving` for its text. `keys` builds the key,
`recall` finds the entry or has the block rendered. `lookups`, `dependencies` and `sources` record
the names, rows and templates that the block uses; `markup` is the format of the entry.
"""

from cachelayers.fragments.keys import check_name, digest_of, tag_of_name
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
    "tag_of_name",
    "wrapper_of_hole",
]
