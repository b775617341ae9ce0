"""Content ids in static URLs, and ``integrity`` values.

The template tags, the storage and the middleware call `ids`, which uses `names` and `files`.
"""

from cachelayers.staticfiles.ids import (
    PARAMETER,
    build_cache_id,
    build_hashed_url,
    build_integrity,
    current_id,
    forget_shared,
    is_shared,
    list_static_files,
    share,
)
from cachelayers.staticfiles.names import MARKERS, Marker, is_below_static_url, is_foreign

__all__ = [
    "MARKERS",
    "PARAMETER",
    "Marker",
    "build_cache_id",
    "build_hashed_url",
    "build_integrity",
    "current_id",
    "forget_shared",
    "is_below_static_url",
    "is_foreign",
    "is_shared",
    "list_static_files",
    "share",
]
