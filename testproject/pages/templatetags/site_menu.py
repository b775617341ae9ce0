"""The menu in the head of every page. Used by the base template."""

from django import template

from testproject.pages import cached, queries

register = template.Library()


@register.simple_tag
def site_menu() -> list[queries.MenuItem]:
    """Return the pages of the menu."""
    return cached.menu()
