"""The cached functions of the CMS. Saving or deleting a page invalidates them."""

from cachelayers import cached
from testproject.pages import queries

PAGE_TIMEOUT = 7 * 24 * 3600  # seconds


@cached(timeout=PAGE_TIMEOUT)
def page(slug: str) -> queries.RenderedPage:
    """Raises Page.DoesNotExist for an unknown slug."""
    return queries.rendered_page(slug)


@cached(timeout=PAGE_TIMEOUT)
def menu() -> list[queries.MenuItem]:
    return queries.menu()
