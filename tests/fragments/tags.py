"""Template tags of a site, for the tests: inclusion tags, and tags that call functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import template
from django.template import Context, Template
from django.urls import get_script_prefix

register = template.Library()


@register.inclusion_tag("item.html")
def show_item() -> dict[str, Any]:
    return {}


# the first that exists; django-stubs knows of one name only
ITEMS: Any = ["special.html", "item.html"]


@register.inclusion_tag(ITEMS)
def show_first_item() -> dict[str, Any]:
    return {}


@register.inclusion_tag(Template("item"))
def show_own_item() -> dict[str, Any]:
    """Show a template without a name."""
    return {}


@register.simple_tag(takes_context=True)
def call(context: Context, function: Callable[[], str]) -> str:
    return function()


@register.simple_tag(takes_context=True)
def ask(context: Context, name: str) -> str:
    """Call the value of a name with the request."""
    return str(context[name](context["request"]))


@register.simple_tag
def prefix() -> str:
    """Show the script prefix."""
    return get_script_prefix()


@register.simple_tag(takes_context=True)
def jot(context: Context, value: str) -> str:
    """Store something for another tag of the page."""
    context.render_context["remembered"] = value
    return ""


@register.simple_tag(takes_context=True)
def jotted(context: Context) -> str:
    """Show what another tag has stored."""
    return str(context.render_context.get("remembered"))
