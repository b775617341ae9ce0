"""Runs a warmer as a Django task (from Django 6.0). Workers import it by this module's name."""

from __future__ import annotations

from django.tasks import task

from cachelayers.warming.runs import run_warmer


@task
def run_in_worker(name: str, arguments: list[str]) -> None:
    run_warmer(name, arguments)
