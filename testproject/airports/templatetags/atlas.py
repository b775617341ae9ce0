"""Filters for the atlas's templates."""

from django import template

register = template.Library()


@register.filter
def thousands(number: float) -> str:
    """Write a number with its thousands apart, as in 28,403."""
    return f"{number:,}"


@register.filter
def compact(number: float) -> str:
    """Write a number without a fraction that says nothing: 20 and 2.5, not 20.0."""
    return f"{number:,g}"
