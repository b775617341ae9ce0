"""The tests' settings for mypy, which needs to know every app with models."""

from __future__ import annotations

from tests import settings
from tests.settings import *  # noqa: F403

INSTALLED_APPS = [
    *settings.INSTALLED_APPS,
    "benchmarks.hit_rate.blog",
    "benchmarks.hit_rate.shop",
    "benchmarks.hit_rate.tenants",
]
