"""What a run hands to settings.py and to its child processes, and what all of them agree on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

FOLDER_VARIABLE = "CACHELAYERS_BENCH_FOLDER"
# clear() of a memcached peer empties the server, so that each has a server of its own. On a Redis
# each has a database of its own.
MEMCACHEDS = ("memcached", "memcached_under_memory", "memcached_over_table")
PORT_VARIABLES = {
    name: f"CACHELAYERS_BENCH_{name.upper()}_PORT"
    for name in ("postgres", "mariadb", "redis", *MEMCACHEDS)
}
SIZES = ("", "_large")  # the growth group compares a small and a large table side by side
TIMEOUT_SECONDS = 86_400  # longer than any run: nothing expires meanwhile


def publish(folder: Path, ports: Mapping[str, int]) -> None:
    """Tell this process and its children where the run's files and servers are."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    os.environ[FOLDER_VARIABLE] = str(folder)
    for name, port in ports.items():
        os.environ[PORT_VARIABLES[name]] = str(port)


def published_ports() -> dict[str, int]:
    """Return the ports of the run's servers, as far as they run."""
    return {
        name: int(os.environ[variable])
        for name, variable in PORT_VARIABLES.items()
        if variable in os.environ
    }
