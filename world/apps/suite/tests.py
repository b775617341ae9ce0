"""Django's own cache tests, run on the caches in the environment variable STACK.

The folder ``cache`` next to this app comes from Django's sdist.
"""

import json
import os
import unittest

from cache.tests import BaseCacheTests, CacheMiddlewareTest, caches_setting_for_tests
from django.test import TransactionTestCase, override_settings

STACK = json.loads(os.environ["STACK"])  # the aliases of CACHES: "default", and its layers
OWN = {name: parameters for name, parameters in STACK.items() if name != "default"}
BASE = STACK["default"]
# Django's LocMemCache shares its entries without a LOCATION
if BASE["BACKEND"].endswith("MemoryCache"):
    BASE = {**BASE, "LOCATION": "shared"}
CACHES = OWN | caches_setting_for_tests(BASE)
for alias in ("cull", "zero_cull"):
    CACHES[alias]["OPTIONS"] = {**STACK["default"].get("OPTIONS", {}), **CACHES[alias]["OPTIONS"]}
PAGES = {**STACK, "other": {**STACK["default"], "TIMEOUT": "1"}}


class OnItsDatabases(TransactionTestCase):
    databases = "__all__"
    available_apps = ["cache", "cachelayers"]


@override_settings(CACHES=CACHES)
class Basics(BaseCacheTests, OnItsDatabases):
    pass


@override_settings(CACHES=PAGES)
class Middleware(CacheMiddlewareTest, OnItsDatabases):
    pass


def differs(name):
    """Return a test that is expected to fail."""

    @unittest.expectedFailure
    def test(self):
        getattr(super(Basics, self), name)()

    return test


for name in json.loads(os.environ["DIFFERENCES"]):
    assert hasattr(BaseCacheTests, name), name
    setattr(Basics, name, differs(name))
del BaseCacheTests, CacheMiddlewareTest
