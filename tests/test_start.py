"""What a process loads when it starts."""

from __future__ import annotations

import subprocess
import sys

from tests.environment import PROJECT

SITE = """
import sys
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=[
        "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
        "django.contrib.messages", "django.contrib.sessions", "cachelayers",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    CACHES={"default": {"BACKEND": "cachelayers.backends.DatabaseCache", "LOCATION": "default"}},
    SECRET_KEY="s" * 50,
)
django.setup()
from django.core.cache import cache
cache.get("key")
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
CLIENTS = {"redis", "django_redis", "pymemcache", "pylibmc", "opentelemetry", "prometheus_client"}


def test_a_site_without_a_server_for_its_cache_loads_no_client_of_one() -> None:
    loaded = subprocess.check_output(
        [sys.executable, "-W", "ignore", "-c", SITE], cwd=PROJECT, text=True, timeout=60
    )

    assert "cachelayers" in loaded.split()
    assert CLIENTS.isdisjoint(loaded.split())
