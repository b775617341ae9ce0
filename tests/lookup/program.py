"""A process of callers for one cold key. Prints how often it computed."""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.consistency.settings"
django.setup()

from django.db import connections  # noqa: E402

from cachelayers import recall  # noqa: E402

CALLERS = 16
COMPUTE_SECONDS = 0.3


def main(store: str, key: str, begin: str) -> None:
    """Call from many threads at the same moment."""
    computed = []

    def compute() -> str:
        computed.append(os.getpid())
        time.sleep(COMPUTE_SECONDS)
        return "the value"

    def call(_: int) -> str:
        time.sleep(max(0.0, float(begin) - time.time()))
        try:
            return recall(key, compute, using=store)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(CALLERS) as pool:
        values = set(pool.map(call, range(CALLERS)))
    sys.stdout.write(json.dumps({"computed": len(computed), "values": sorted(values)}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
