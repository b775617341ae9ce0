"""Every link in the documentation has a target, and every page is linked."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.environment import PROJECT

DOCS = PROJECT / "docs"
TEXTS = sorted([*PROJECT.glob("*.md"), *DOCS.glob("*.md")])
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose_of(path: Path) -> str:
    """Return a page without its code blocks."""
    return FENCED.sub("", path.read_text(encoding="utf-8"))


def links_of(path: Path) -> list[str]:
    """Return the page's links within the project."""
    return [link for link in LINK.findall(prose_of(path)) if "://" not in link]


@cache
def anchors_of(path: Path) -> frozenset[str]:
    """Return the anchors that code hosts, and MyST, make of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose_of(path), re.MULTILINE)
    texts = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    kept = [re.sub(r"[^\w\- ]", "", text).strip().lower() for text in texts]
    return frozenset(text.replace(" ", "-") for text in kept)


def is_broken(page: Path, link: str) -> bool:
    place, _, anchor = link.partition("#")
    target = (page.parent / place).resolve() if place else page
    return not target.exists() or bool(anchor and anchor not in anchors_of(target))


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_every_link_and_anchor_exists(page: Path) -> None:
    assert [link for link in links_of(page) if is_broken(page, link)] == []


def test_a_link_to_nowhere_is_found() -> None:
    page = DOCS / "limits.md"

    assert is_broken(page, "nowhere.md")
    assert is_broken(page, "recall.md#nowhere")
    assert is_broken(page, "#nowhere")


def test_the_index_lists_every_page() -> None:
    index = prose_of(DOCS / "index.md")
    listed = re.findall(r"^\| \[[^]]+\]\(([^)#]+)\)", index, re.MULTILINE)

    assert sorted(page for page in listed if "/" not in page) == sorted(
        page.name for page in DOCS.glob("*.md") if page.name != "index.md"
    )


PLACE = re.compile(r"`((?:cachelayers|tests|docs|world|\.ci)/[\w./-]*)`")


def test_every_location_in_the_code_exists() -> None:
    named = {place for page in TEXTS for place in PLACE.findall(prose_of(page))}

    assert named
    assert sorted(place for place in named if not (PROJECT / place).exists()) == []


TOPICS = """
backend; whole pages; querysets; each user; test; deploy; my writes; my memory; my disk;
not cached; REST framework; Wagtail; Celery; Channels; tenants; replicas; pgbouncer;
ATOMIC_REQUESTS; django-redis; cacheops; cachalot; diskcache; wagtail-cache; Django's own;
in my process; in my database; switch it off; remove it
"""


def test_every_question_is_answered_two_clicks_from_the_readme() -> None:
    rows = re.findall(r"^\| (.*) \| (.*) \|$", prose_of(DOCS / "questions.md"), re.MULTILINE)[2:]

    assert "docs/questions.md" in links_of(PROJECT / "README.md")
    assert [question for question, answer in rows if not LINK.search(answer)] == []
    asked = "\n".join(question for question, _ in rows)
    assert [topic for topic in TOPICS.split(";") if topic.strip() not in asked] == []
