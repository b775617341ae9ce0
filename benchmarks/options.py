"""The command line options of the benchmarks that are one module each."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def parse_options(
    name: str, description: str | None, arguments: Sequence[str] | None
) -> argparse.Namespace:
    """Return ``pace``, "full" or "smoke", and ``json``, the path of the figures."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument(
        "--smoke",
        dest="pace",
        action="store_const",
        const="smoke",
        default="full",
        help="shows that it runs, the figures mean nothing",
    )
    parser.add_argument("--json", type=Path, default=Path(f"var/bench-{name}.json"))
    return parser.parse_args(arguments)
