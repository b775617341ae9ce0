"""The warmers of the atlas, for `manage.py warm_cache`."""

from collections.abc import Iterable

from django.urls import reverse

from cachelayers import warmer
from testproject.airports import cached, queries


@warmer("world page", every=cached.FACTS_TIMEOUT)
def world_page() -> Iterable[str]:
    yield reverse("airports:world")


@warmer("country pages", every=cached.FACTS_TIMEOUT)
def country_pages() -> Iterable[str]:
    yield from queries.country_urls()


@warmer("airport pages", every=cached.FACTS_TIMEOUT)
def airport_pages() -> Iterable[str]:
    """Only the notable ones: all 28,000 would take an hour, for pages that few people open."""
    yield from queries.airport_urls()
