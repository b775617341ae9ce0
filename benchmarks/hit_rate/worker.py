"""One process: make the requests of a workload, and print what became of its reads."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.hit_rate.settings"

import django

django.setup()

from django.core.management import call_command  # noqa: E402

from benchmarks.hit_rate.names import published_task  # noqa: E402
from benchmarks.hit_rate.runs import Run  # noqa: E402


def main() -> None:
    """Make the tables, make the requests, print the figures."""
    task = published_task()
    call_command("migrate", run_syncdb=True, verbosity=0)
    site = import_module(f"benchmarks.hit_rate.{task.workload}.site").SITE()
    run = Run(site, task.contestants)
    run.make_requests(task.requests, task.writes)
    sys.stdout.write(json.dumps(run.figures) + "\n")


if __name__ == "__main__":
    main()
