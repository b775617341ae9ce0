"""Template filters of the atlas."""

from django import template

register = template.Library()


@register.filter
def thousands(number: float) -> str:
    """Write a number with thousands separators, as in 28,403."""
    return f"{number:,}"


@register.filter
def compact(number: float) -> str:
    """Write a number without a trailing ".0": 20 and 2.5."""
    return f"{number:,g}"
