"""Values shared by a run, its settings.py and its child processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

FOLDER_VARIABLE = "CACHELAYERS_BENCH_FOLDER"
# clear() of a memcached peer empties the server, so each peer has a server of its own. On Redis,
# each has a database of its own.
MEMCACHEDS = ("memcached", "memcached_under_memory", "memcached_over_table")
PORT_VARIABLES = {
    name: f"CACHELAYERS_BENCH_{name.upper()}_PORT"
    for name in ("postgres", "mariadb", "redis", *MEMCACHEDS)
}
SIZES = ("", "_large")  # the growth group compares a small and a large table side by side
TIMEOUT_SECONDS = 86_400  # longer than any run: nothing expires meanwhile


def publish(folder: Path, ports: Mapping[str, int]) -> None:
    """Set the environment of this process and its children: the run's folder and ports."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    os.environ[FOLDER_VARIABLE] = str(folder)
    for name, port in ports.items():
        os.environ[PORT_VARIABLES[name]] = str(port)


def published_ports() -> dict[str, int]:
    """Return the ports of the running servers."""
    return {
        name: int(os.environ[variable])
        for name, variable in PORT_VARIABLES.items()
        if variable in os.environ
    }
