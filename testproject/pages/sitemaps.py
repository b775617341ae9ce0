"""The sitemap of the CMS."""

from datetime import datetime
from typing import TYPE_CHECKING

from django.contrib.sitemaps import Sitemap
from django.db.models import QuerySet

from testproject.pages.models import Page

if TYPE_CHECKING:
    PageSitemapBase = Sitemap[Page]
else:
    PageSitemapBase = Sitemap


class PageSitemap(PageSitemapBase):
    """Every page, with the time of its last change."""

    protocol = "http"
    priority = 0.8

    def items(self) -> QuerySet[Page]:
        return Page.objects.order_by("slug")

    def lastmod(self, item: Page) -> datetime:
        return item.updated
