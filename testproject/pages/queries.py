"""Computes the data of the CMS from the database, without knowing caches or requests."""

from typing import TypedDict

from testproject.pages.markdown import render_markdown
from testproject.pages.models import Page


class RenderedPage(TypedDict):
    title: str
    summary: str
    html: str
    updated: str


class MenuItem(TypedDict):
    title: str
    url: str


def rendered_page(slug: str) -> RenderedPage:
    """Raises Page.DoesNotExist for an unknown slug."""
    page = Page.objects.get(slug=slug)
    return {
        "title": page.title,
        "summary": page.summary,
        "html": render_markdown(page.text),
        "updated": page.updated.date().isoformat(),
    }


def menu() -> list[MenuItem]:
    return [
        {"title": page.title, "url": page.get_absolute_url()}
        for page in Page.objects.exclude(menu_position=None)
    ]


def page_urls() -> list[str]:
    return [page.get_absolute_url() for page in Page.objects.all()]
