"""Cached template fragments: the tags, and everything that serves, renders and keys a fragment.

A tag (`nodes` for Django, `jinja` for Jinja2) asks `serving` for its text. `keys` builds the key,
`recall` finds the entry or has the block rendered. `lookups`, `dependencies` and `sources` record
the names, rows and templates that the block uses; `markup` is the format of the entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from cachelayers.fragments.variants import current_locale, identity_of
from cachelayers.utils.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from cachelayers.fragments.jinja import (
        JinjaCall,
        JinjaTag,
        hole_of,
        note_lone_hole,
        show_fragment,
        show_fragments,
        show_hole,
        track_environment,
    )
else:
    # Only sites that use it have Jinja2.
    __getattr__ = lazy_exports(
        __name__,
        {
            "jinja": [
                "JinjaCall",
                "JinjaTag",
                "hole_of",
                "note_lone_hole",
                "show_fragment",
                "show_fragments",
                "show_hole",
                "track_environment",
            ]
        },
    )

__all__ = [
    "OPTION_NAMES",
    "FragmentNode",
    "FragmentsNode",
    "JinjaCall",
    "JinjaTag",
    "TagSurroundings",
    "UncachedNode",
    "check_name",
    "compile_loop",
    "compile_options",
    "current_locale",
    "digest_of",
    "hole_of",
    "identity_of",
    "name_hole",
    "names_in_templates",
    "note_lone_hole",
    "register_hole",
    "show_fragment",
    "show_fragments",
    "show_hole",
    "tag_of_name",
    "track_environment",
    "wrapper_of_hole",
]
