"""What this process has counted, and the time that it believes it is."""

from __future__ import annotations

from typing import Any

from cachelayers.stats import Figures, figures_of_process


def counted(cache: str, layer: str = "") -> dict[str, Any]:
    """Return what is not zero, without times."""
    figures = figures_of_process().get((cache, layer), Figures())
    return {
        name: number
        for name, number in figures._asdict().items()
        if number and not name.endswith("_seconds")
    }


def seconds_of(cache: str, name: str) -> float:
    found: float = getattr(figures_of_process()[cache, ""], name)
    return found
