"""Converts Markdown to safe HTML, for the queries."""

from functools import cache

import nh3
from markdown_it import MarkdownIt


def render_markdown(text: str) -> str:
    """Return HTML without scripts, styles, forms or event handlers, for any text."""
    return nh3.clean(markdown_parser().render(text))


@cache
def markdown_parser() -> MarkdownIt:
    # HTML is allowed here. The sanitiser removes what is unsafe, which Markdown's own links need
    # anyway.
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
