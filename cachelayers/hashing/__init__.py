"""WHAT is in a static file: ids in URLs that change with the content, and integrity values."""

from cachelayers.hashing.ids import build_cache_id, build_integrity
from cachelayers.hashing.markers import Marker
from cachelayers.hashing.urls import build_hashed_url

__all__ = ["Marker", "build_cache_id", "build_hashed_url", "build_integrity"]
