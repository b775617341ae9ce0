"""Notice that a block asks for the active language, time zone or URLconf. Used by watching.

Django gives no signal for it. Every translation, date and number goes through one object of its own
that holds what is active, and through no other way; so that object is looked at through another.
"""

from __future__ import annotations

from contextvars import ContextVar
from threading import get_ident
from typing import Any, Final

from django.urls import base as urls
from django.utils import timezone, translation
from django.utils.translation import trans_real

from cachelayers.entries.spelling import Unstable
from cachelayers.invalidation.units import current_unit

LANGUAGE = "language"
TIME_ZONE = "time zone"
# What URLs are made by: the URLconf, the prefix of the script, and what the {% url %} tag asks the
# request for.
URLS = "urls"
VALUES_IN_URLS = frozenset({"request:current_app", "request:resolver_match", "match:namespace"})
NOTHING: Final = object()  # is active
Known = tuple[int, Any]  # by which thread, and what

# The dimensions that the block which is rendered in this context has asked for.
asked: ContextVar[set[str] | None] = ContextVar("cachelayers_locale", default=None)


class Noted:
    """Stands in front of the object that holds what is active, and notes who looks at it.

    Remembers what that holds: every key of a fragment that knows its language asks, and the holder,
    which takes a lock, would take a tenth of a hit. What it remembers of another thread it does not
    believe: which contexts a thread shares with another one is the holder's to say.
    """

    def __init__(self, holder: Any, dimension: str) -> None:
        """Stand in front of ``holder``, which goes on to hold what each thread has activated."""
        self._holder, self._dimension = holder, dimension
        self._known: ContextVar[Known | None] = ContextVar(f"cachelayers_{dimension}", default=None)

    @property
    def value(self) -> Any:
        """What is active: the one attribute that it has."""
        noting = asked.get()
        if noting is not None:
            noting.add(self._dimension)
        known = self._known.get()
        if known is None or known[0] != get_ident():
            known = self._remember(getattr(self._holder, "value", NOTHING))
        if known[1] is NOTHING:
            raise AttributeError("value")
        return known[1]

    @value.setter
    def value(self, value: Any) -> None:
        self._holder.value = value
        self._remember(value)

    @value.deleter
    def value(self) -> None:
        del self._holder.value
        self._remember(NOTHING)

    def _remember(self, value: Any) -> Known:
        """Remember what this thread has activated, in this context."""
        known = get_ident(), value
        self._known.set(known)
        return known


def note_locale() -> None:
    """See to it that it is noticed. Looked at each time: overridden settings renew the objects."""
    holders: tuple[tuple[Any, str, str], ...] = (
        (trans_real, "_active", LANGUAGE),
        (timezone, "_active", TIME_ZONE),
        (urls, "_urlconfs", URLS),
        (urls, "_prefixes", URLS),
    )
    for module, name, dimension in holders:
        holder = getattr(module, name)
        if not isinstance(holder, Noted):
            setattr(module, name, Noted(holder, dimension))


note_locale()  # before the first block is rendered too: hits ask as well


def current_language() -> str:
    """Return the active language."""
    return translation.get_language() or ""


def current_time_zone() -> str:
    """Return the active time zone; two of one name may differ."""
    return repr(timezone.get_current_timezone())


def current_urls() -> str:
    """Return what URLs are made by. A URLconf may be a module, a list or the path of a module."""
    urlconf = urls.get_urlconf()
    name = urlconf if isinstance(urlconf, str) else getattr(urlconf, "__name__", None)
    if urlconf is not None and name is None:
        raise Unstable("the URLconf has no name")
    unit = current_unit()
    request = None if unit is None else unit.request
    app = getattr(request, "current_app", None)
    match = getattr(request, "resolver_match", None)
    namespace = None if match is None else match.namespace
    return f"{urls.get_script_prefix()!r}{name!r}{app!r}{namespace!r}"
