"""The view of a CMS page, which reads from the cache."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from testproject.pages import cached, queries
from testproject.pages.models import Page


def page(request: HttpRequest, slug: str) -> HttpResponse:
    return render(request, "pages/page.html", {"page": find_page(slug)})


def find_page(slug: str) -> queries.RenderedPage:
    try:
        return cached.page(slug)
    except Page.DoesNotExist:
        raise Http404(f"No page has the address /{slug}/.") from None
