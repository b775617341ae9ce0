"""The Celery task for warmers exists in whatever order the modules are imported."""

from __future__ import annotations

import subprocess
import sys

from tests.environment import PROJECT

WORKER = """
import sys
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=[
        "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
        "django.contrib.messages", "django.contrib.sessions", "cachelayers",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    SECRET_KEY="s" * 50,
)
django.setup()
assert "cachelayers.tasks" in sys.modules
from celery import Celery
app = Celery("late", broker="memory://", fixups=[])
app.autodiscover_tasks(["cachelayers"])
app.loader.import_default_modules()
print("cachelayers.run_warmer" in app.tasks)
"""


def test_a_worker_that_imports_celery_after_the_admin_has_the_task() -> None:
    printed = subprocess.check_output(
        [sys.executable, "-W", "ignore", "-c", WORKER], cwd=PROJECT, text=True, timeout=60
    )

    assert printed == "True\n"
