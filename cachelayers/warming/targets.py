"""What a warmer may yield. Read by the plan; touches no cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

from django.core.cache import DEFAULT_CACHE_ALIAS
from django.core.cache.backends.base import DEFAULT_TIMEOUT

if TYPE_CHECKING:  # it needs the settings, and this module is imported before they are there
    from cachelayers.lookup.calls import Options


@dataclass(frozen=True, kw_only=True)
class Target:
    """A cache key and the function that computes its value, for ``cache.get``.

    ``timeout`` is in seconds, ``None`` means for ever, and left out it is the alias's own.
    """

    key: str
    compute: Callable[[], object]
    # `object`: Django marks "the alias's own timeout" by a bare object().
    timeout: float | object | None = DEFAULT_TIMEOUT
    using: str = DEFAULT_CACHE_ALIAS


class RecallTarget:
    """The arguments of a ``recall()`` or ``arecall()``, whose entry is to be there before it.

    >>> RecallTarget("busiest:FR", compute, timeout=300, tags=["homepage"])
    """

    def __init__(self, key: str, compute: Callable[[], object], **options: Unpack[Options]) -> None:
        """The arguments are recall()'s."""
        self.key = key
        self.compute = compute
        self.options = options

    def __repr__(self) -> str:
        return f"RecallTarget({self.key!r})"


Warmable = str | Callable[[], object] | Target | RecallTarget
WarmerFunction = Callable[[], Iterable[Warmable] | Callable[[], Any] | Target | RecallTarget]
