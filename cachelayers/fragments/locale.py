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
        self._holder, self._dimension = holder, dimension

    @property
    def value(self) -> Any:
        """What is active: the one attribute that it has."""
        noting = asked.get()
        if noting is not None:
            noting.add(self._dimension)
        return self._holder.value

    @value.setter
    def value(self, value: Any) -> None:
        self._holder.value = value

    @value.deleter
    def value(self) -> None:
        del self._holder.value


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
    """Return the active time zone; two of one name may differ."""
    return repr(timezone.get_current_timezone())
