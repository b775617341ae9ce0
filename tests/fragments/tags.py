"""Tags of a site, for the tests: an inclusion tag, and one that calls a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import template
from django.template import Context

register = template.Library()


@register.inclusion_tag("item.html")
def show_item() -> dict[str, Any]:
    """Show item.html."""
    return {}


@register.simple_tag(takes_context=True)
def call(context: Context, function: Callable[[], str]) -> str:
    """Call a function of the context."""
    return function()
