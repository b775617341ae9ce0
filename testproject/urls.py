"""The URLs of the site. The CMS comes last, because it matches any word."""

from django.contrib import admin
from django.contrib.sitemaps.views import sitemap
from django.urls import include, path
from django.views.decorators.cache import cache_page

from testproject.airports.sitemaps import AirportSitemap, AtlasSitemap, CountrySitemap
from testproject.pages.sitemaps import PageSitemap

SITEMAPS = {
    "atlas": AtlasSitemap,
    "pages": PageSitemap,
    "countries": CountrySitemap,
    "airports": AirportSitemap,
}
SITEMAP_TIMEOUT = 600  # seconds; fresh enough for search engines

urlpatterns = [
    path("admin/", admin.site.urls),
    path(
        "sitemap.xml",
        cache_page(SITEMAP_TIMEOUT, key_prefix="sitemap")(sitemap),
        {"sitemaps": SITEMAPS},
        name="sitemap",
    ),
    path("", include("testproject.airports.urls")),
    path("", include("testproject.pages.urls")),
]
