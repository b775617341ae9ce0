"""What a warmer may yield. Read by the plan; touches no cache."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.core.cache import DEFAULT_CACHE_ALIAS
from django.core.cache.backends.base import DEFAULT_TIMEOUT


@dataclass(frozen=True, kw_only=True)
class Target:
    """A cache key and the function that computes its value.

    ``timeout`` is in seconds, ``None`` means for ever, and left out it is the alias's own.
    """

    key: str
    compute: Callable[[], object]
    # `object`: Django marks "the alias's own timeout" by a bare object().
    timeout: float | object | None = DEFAULT_TIMEOUT
    using: str = DEFAULT_CACHE_ALIAS


Warmable = str | Callable[[], object] | Target
WarmerFunction = Callable[[], Iterable[Warmable] | Callable[[], object] | Target]
