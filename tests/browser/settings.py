"""The demo's settings, for a site whose files a test may change as a deployment does."""

from __future__ import annotations

import os

from testproject.settings import *  # noqa: F403
from testproject.settings import DATA_DIR, STORAGES

ROOT_URLCONF = "tests.browser.urls"

# What is here goes before the files of the apps.
STATICFILES_DIRS = [DATA_DIR / "changed"]

# With a manifest, a changed file has another name anyway. Without one, only the id tells.
if storage := os.environ.get("TESTPROJECT_STATIC_STORAGE"):
    STORAGES["staticfiles"] = {"BACKEND": storage}
