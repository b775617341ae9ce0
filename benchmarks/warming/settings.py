"""The demo site, and pages that wait for something other than the processor."""

from testproject.settings import *  # noqa: F403

ROOT_URLCONF = "benchmarks.warming.urls"
