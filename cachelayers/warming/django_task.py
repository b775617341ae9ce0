"""A warmer as a task of Django's, from Django 6.0 on. Workers find it by this module's name."""

from __future__ import annotations

from django.tasks import task

from cachelayers.warming.background import run_warmer


@task
def run_in_worker(name: str, arguments: list[str]) -> None:
    """Run one warmer."""
    run_warmer(name, arguments)
