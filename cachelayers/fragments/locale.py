"""Notice that a block asks for the active language or time zone. Used by watching.

Django gives no signal for it. Every translation, date and number goes through one object of its own
that holds what is active, and through no other way; so that object is looked at through another.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from django.utils import timezone, translation
from django.utils.translation import trans_real

LANGUAGE = "language"
TIME_ZONE = "time zone"

# The dimensions that the block which is rendered in this context has asked for.
asked: ContextVar[set[str] | None] = ContextVar("cachelayers_locale", default=None)


class Noted:
    """Stands in front of the object that holds what is active, and notes who looks at it."""

    def __init__(self, holder: Any, dimension: str) -> None:
        """Stand in front of ``holder``, which goes on to hold what each thread has activated."""
        self.__dict__.update(holder=holder, dimension=dimension)

    def __getattr__(self, name: str) -> Any:
        noting = asked.get()
        if noting is not None:
            noting.add(self.dimension)
        return getattr(self.holder, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.holder, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.holder, name)


def note_locale() -> None:
    """See to it that it is noticed. Looked at each time: overridden settings renew the objects."""
    modules: tuple[tuple[Any, str], ...] = ((trans_real, LANGUAGE), (timezone, TIME_ZONE))
    for module, dimension in modules:
        if not isinstance(module._active, Noted):
            module._active = Noted(module._active, dimension)


def current_language() -> str:
    """Return the active language."""
    return translation.get_language() or ""


def current_time_zone() -> str:
    """Return the active time zone."""
    return str(timezone.get_current_timezone())
