"""The sitemaps of the atlas."""

from typing import TYPE_CHECKING

from django.contrib.sitemaps import Sitemap
from django.urls import reverse

from testproject.airports import queries

if TYPE_CHECKING:
    PathSitemap = Sitemap[str]
else:
    PathSitemap = Sitemap


class AtlasSitemap(PathSitemap):
    """The world page."""

    protocol = "http"
    priority = 1.0

    def items(self) -> list[str]:
        return [reverse("airports:world")]

    def location(self, item: str) -> str:
        return item


class CountrySitemap(AtlasSitemap):
    """Every country that has airports."""

    priority = 0.6

    def items(self) -> list[str]:
        return queries.country_urls()


class AirportSitemap(AtlasSitemap):
    """The notable airports; the pages of countries link the others."""

    priority = 0.4

    def items(self) -> list[str]:
        return queries.airport_urls()
