"""The warmers of the CMS, for `manage.py warm_cache`."""

from collections.abc import Iterable

from cachelayers import warmer
from testproject.pages import cached, queries


@warmer("cms pages", every=cached.PAGE_TIMEOUT)
def cms_pages() -> Iterable[str]:
    yield from queries.page_urls()
