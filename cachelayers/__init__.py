"""Multi-layer caching for Django, with entries that become invalid when their data changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cachelayers.utils.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from cachelayers.decorators import cached, cached_many
    from cachelayers.invalidation import ainvalidate, invalidate, invalidates, unit_of_work
    from cachelayers.lookup import arecall, arecall_many, recall, recall_many
    from cachelayers.staticfiles import build_cache_id
    from cachelayers.utils.switch import disabled
    from cachelayers.warming import warmer
else:
    # Imported lazily: Django imports this module before the settings and apps that these need.
    __getattr__ = lazy_exports(
        __name__,
        {
            "decorators": ["cached", "cached_many"],
            "invalidation": ["ainvalidate", "invalidate", "invalidates", "unit_of_work"],
            "lookup": ["arecall", "arecall_many", "recall", "recall_many"],
            "staticfiles": ["build_cache_id"],
            "utils.switch": ["disabled"],
            "warming": ["warmer"],
        },
    )

__all__ = [
    "ainvalidate",
    "arecall",
    "arecall_many",
    "build_cache_id",
    "cached",
    "cached_many",
    "disabled",
    "invalidate",
    "invalidates",
    "recall",
    "recall_many",
    "unit_of_work",
    "warmer",
]
__version__ = "0.1.0"
