"""The demo's settings, for a site whose files a test changes like a deploy."""

from __future__ import annotations

import os

from testproject.settings import *  # noqa: F403
from testproject.settings import DATA_DIR, STORAGES

ROOT_URLCONF = "tests.browser.urls"

# The files here come before those of the apps.
STATICFILES_DIRS = [DATA_DIR / "changed"]

# With a manifest, a changed file gets another name anyway. Without one, only the id changes.
if storage := os.environ.get("TESTPROJECT_STATIC_STORAGE"):
    STORAGES["staticfiles"] = {"BACKEND": storage}
