"""The menu in the head of every page. Used by the base template."""

from typing import cast

from django import template
from django.core.cache import cache

from testproject.pages import keys, queries

register = template.Library()


@register.simple_tag
def site_menu() -> list[queries.MenuItem]:
    """Return the pages of the menu."""
    items = cache.get_or_set(keys.menu(), queries.menu, keys.PAGE_TIMEOUT)
    return cast("list[queries.MenuItem]", items)
