"""The template tag for the menu of every page."""

from django import template

from testproject.pages import cached, queries

register = template.Library()


@register.simple_tag
def site_menu() -> list[queries.MenuItem]:
    """Return the pages in the menu."""
    return cached.menu()
