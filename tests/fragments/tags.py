"""Tags of a site, for the tests: an inclusion tag, and one that calls a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import template
from django.template import Context, Template
from django.urls import get_script_prefix

register = template.Library()


@register.inclusion_tag("item.html")
def show_item() -> dict[str, Any]:
    """Show item.html."""
    return {}


ITEMS: Any = ["special.html", "item.html"]  # the first that is there; django-stubs knows of one


@register.inclusion_tag(ITEMS)
def show_first_item() -> dict[str, Any]:
    """Show the first of them that is there."""
    return {}


@register.inclusion_tag(Template("item"))
def show_own_item() -> dict[str, Any]:
    """Show a template that has no name."""
    return {}


@register.simple_tag(takes_context=True)
def call(context: Context, function: Callable[[], str]) -> str:
    """Call a function of the context."""
    return function()


@register.simple_tag(takes_context=True)
def ask(context: Context, name: str) -> str:
    """Call what the context has under a name, with the request."""
    return str(context[name](context["request"]))


@register.simple_tag
def prefix() -> str:
    """Show what links begin with."""
    return get_script_prefix()


@register.simple_tag(takes_context=True)
def jot(context: Context, value: str) -> str:
    """Remember something for another tag of the page."""
    context.render_context["remembered"] = value
    return ""


@register.simple_tag(takes_context=True)
def jotted(context: Context) -> str:
    """Show what another tag has remembered."""
    return str(context.render_context.get("remembered"))
