"""What the CMS keeps in its cache. A page that is saved or deleted takes it out of sight."""

from cachelayers import cached
from testproject.pages import queries

PAGE_TIMEOUT = 7 * 24 * 3600  # seconds


@cached(timeout=PAGE_TIMEOUT)
def page(slug: str) -> queries.RenderedPage:
    """Raises Page.DoesNotExist where no page has the address."""
    return queries.rendered_page(slug)


@cached(timeout=PAGE_TIMEOUT)
def menu() -> list[queries.MenuItem]:
    return queries.menu()
