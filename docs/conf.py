"""Build README, the texts beside it and the pages of docs/ as a site: `make docs`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent

project = "django-cachelayers"
author = "The django-cachelayers authors"
project_copyright = author
[release] = re.findall(r'__version__ = "(.*)"', (ROOT / "cachelayers/__init__.py").read_text())

extensions = ["myst_parser"]
# The whole checkout is the source, so a link has the same path here and on a code host.
root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/*.md"]
# Sphinx would walk through folders such as .venv to find out that nothing there is included.
exclude_patterns = [path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "docs"]
nitpicky = True
highlight_language = "text"  # of a block that names none
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False
html_use_index = False
html_domain_indices = False


def setup(app: Sphinx) -> None:
    """Connect what Sphinx has no setting for."""
    app.add_lexer("crontab", TextLexer)
    app.connect("source-read", add_contents)
    app.connect("build-finished", add_front_page)


def add_contents(app: Sphinx, document: str, source: list[str]) -> None:
    """Give the first page the site's table of contents.

    It is read from index.md: a directive in a page would be shown as code on a code host.
    """
    if document == root_doc:
        source[0] += "".join(contents())


def contents() -> Iterator[str]:
    """Yield one table of contents for each section of index.md."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    yield "\n```{toctree}\n:hidden:\n\n/docs/index\n```\n"
    for section in index.split("\n## ")[1:]:
        caption = section.partition("\n")[0]
        pages = re.findall(r"^\| \[[^]]+\]\(([^)#]+)\.md\)", section, re.MULTILINE)
        documents = [page[2:] if page.startswith("../") else f"/docs/{page}" for page in pages]
        yield f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n"
        yield "\n".join(documents) + "\n```\n"


def add_front_page(app: Sphinx, exception: Exception | None) -> None:
    """Show the first page where a web server looks for it."""
    if exception is None:
        shutil.copy(Path(app.outdir, f"{root_doc}.html"), Path(app.outdir, "index.html"))
