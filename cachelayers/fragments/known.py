"""Find the names of fragments in the site's templates, for those who type them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from django.template import engines

LONGEST_TEMPLATE = 2**20  # bytes; what is larger is no template
NAMED = re.compile(r"{%[-+]?\s*fragments?\s+(?:\"([^\"]+)\"|'([^']+)')")


def names_in_templates() -> set[str]:
    """Return the names that stand in the files of every template engine's folders.

    Not those that are worked out while a template is rendered.
    """
    return {double or single for text in template_texts() for double, single in NAMED.findall(text)}


def template_texts() -> Iterator[str]:
    """Yield the text of every file in the folders of templates."""
    folders = {Path(folder) for engine in engines.all() for folder in engine.template_dirs}
    for folder in folders:
        for path in folder.rglob("*"):
            try:
                if path.is_file() and path.stat().st_size <= LONGEST_TEMPLATE:
                    yield path.read_text(errors="replace")
            except OSError:  # it went, or is nobody's to read
                continue
