"""What to fill the cache with ahead of its readers. Found by `manage.py warm_cache`."""

from collections.abc import Iterable

from cachelayers import warmer
from testproject.pages import keys, queries


@warmer("cms pages", every=keys.PAGE_TIMEOUT)
def cms_pages() -> Iterable[str]:
    yield from queries.page_urls()
