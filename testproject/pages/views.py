"""Show a page of the CMS, from the cache where it has it."""

from functools import partial
from typing import cast

from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from testproject.pages import keys, queries
from testproject.pages.models import Page


def page(request: HttpRequest, slug: str) -> HttpResponse:
    return render(request, "pages/page.html", {"page": find_page(slug)})


def find_page(slug: str) -> queries.RenderedPage:
    try:
        found = cache.get_or_set(
            keys.page(slug), partial(queries.rendered_page, slug), keys.PAGE_TIMEOUT
        )
    except Page.DoesNotExist:
        raise Http404(f"No page has the address /{slug}/.") from None
    return cast("queries.RenderedPage", found)
