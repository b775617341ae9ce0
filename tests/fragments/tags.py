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
def page_of_wrapped(context: Context) -> str:
    """Show what a wrapped request says."""
    return str(context["wrap"](context["request"]).GET["page"])


@register.simple_tag(takes_context=True)
def remember(context: Context) -> str:
    """Call what the context has under this name, with the request."""
    return str(context["remember"](context["request"]))


@register.simple_tag(takes_context=True)
def in_thread(context: Context) -> str:
    """Call what the context has under this name, with the request."""
    return str(context["in_thread"](context["request"]))


@register.simple_tag(takes_context=True)
def greeting(context: Context) -> str:
    """Call what the context has under this name, with the request."""
    return str(context["greeting"](context["request"]))


@register.simple_tag
def prefix() -> str:
    """Show what links begin with."""
    return get_script_prefix()
