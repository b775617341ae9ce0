"""What a run hands to settings.py and to its child processes, and what all of them agree on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

FOLDER_VARIABLE = "CACHELAYERS_BENCH_FOLDER"
PORT_VARIABLES = {
    "postgres": "CACHELAYERS_BENCH_POSTGRES_PORT",
    "mariadb": "CACHELAYERS_BENCH_MARIADB_PORT",
}
SIZES = ("", "_large")  # the growth group compares a small and a large table side by side
TIMEOUT_SECONDS = 86_400  # longer than any run: nothing expires meanwhile


def publish(folder: Path, ports: Mapping[str, int]) -> None:
    """Tell this process and its children where the run's files and servers are."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    os.environ[FOLDER_VARIABLE] = str(folder)
    for name, port in ports.items():
        os.environ[PORT_VARIABLES[name]] = str(port)
