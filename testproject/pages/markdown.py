"""Turn Markdown into HTML that is safe to show. Pure; called by queries."""

from functools import cache

import nh3
from markdown_it import MarkdownIt


def render_markdown(text: str) -> str:
    """Return HTML without scripts, styles, forms or event handlers, whatever the text holds."""
    return nh3.clean(markdown_parser().render(text))


@cache
def markdown_parser() -> MarkdownIt:
    # HTML passes: authors may use it, and what is not wanted of it goes in the cleaning,
    # which Markdown's own links need in any case.
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
