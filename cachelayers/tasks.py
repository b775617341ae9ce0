"""Runs warmers outside of a command or request: on a task queue, or in a process.

Celery workers find this module by ``autodiscover_tasks()``. If it was imported before Celery, as by
the admin, cachelayers.auto_units registers the task.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.db import DatabaseError

from cachelayers.conf import package_settings
from cachelayers.exceptions import CacheLayersError
from cachelayers.utils.text import without_secrets
from cachelayers.warming import (
    AlreadyRunning,
    forget_queued,
    last_run_of,
    record_queued,
    registered_warmers,
    run_warmer,
    start_process,
    warmer_source,
)

DJANGO, CELERY = "django", "celery"


class NoQueue(CacheLayersError):
    """There is no task queue for a warmer. The message tells what to do."""


@cache
def celery_task() -> Any:
    """Return the Celery task that runs a warmer, registered with the current app."""
    from celery import shared_task

    return shared_task(name="cachelayers.run_warmer")(run_warmer)


if "celery" in sys.modules:  # as in every worker; in other processes the import takes 0.1 seconds
    celery_task()


def enqueue(name: str, arguments: Sequence[str] = (), *, shard: str = "") -> str:
    """Put a warmer on the task queue and return the task's id. Raises NoQueue.

    ``arguments``: options of ``warm_cache`` as typed. ``shard``: the ``--shard`` among them.
    """
    put = put_on_celery if queue_in_use() == CELERY else put_on_django_queue
    source = warmer_source(name, shard)
    # Before it is enqueued: the queue may run it at once, and write its own record.
    with suppress(DatabaseError):
        record_queued(source)
    try:
        return put(name, list(arguments))
    except NoQueue:
        with suppress(DatabaseError):
            forget_queued(source)
        raise


def start_in_background(name: str, arguments: Sequence[str] = ()) -> None:
    """Run a warmer in the background: on the queue if there is one, otherwise in a process.

    The admin calls it; the run outlives the request, and ``last_runs()`` shows its progress. Raises
    LookupError for an unknown warmer, AlreadyRunning if it is running, NoQueue if the queue refuses
    it, OSError if no process can be started.
    """
    if name not in registered_warmers():
        raise LookupError(f"There is no warmer {name!r}.")
    if not has_queue():
        start_process(name, arguments)
        return
    run = last_run_of(warmer_source(name))
    if run is not None and run.is_running:
        raise AlreadyRunning(run)
    enqueue(name, arguments)


# Which queue


def has_queue() -> bool:
    """Tell whether enqueue() would find a queue."""
    try:
        queue_in_use()
    except NoQueue:
        return False
    return True


def queue_in_use() -> str:
    """Return the name of the queue: CACHELAYERS["TASK_QUEUE"], or the one that the project uses."""
    named = package_settings().TASK_QUEUE
    if named in {DJANGO, CELERY}:
        reason = why_no_django_queue() if named == DJANGO else why_no_celery()
        if reason:
            raise NoQueue(f"CACHELAYERS['TASK_QUEUE'] is {named!r}, and {reason}.")
        return str(named)
    # Without the setting, Django's default backend runs tasks at once, in the enqueuing process.
    if why_no_django_queue() is None and settings.is_overridden("TASKS"):  # type: ignore[misc] # the stubs lack it
        return DJANGO
    if why_no_celery() is None:
        return CELERY
    raise NoQueue(
        "There is no task queue: TASKS is not set (Django 6.0 and later), and"
        f" {why_no_celery()}. Set up one of them, or run `warm_cache --due` from cron."
    )


def why_no_django_queue() -> str | None:
    """Return why Django's tasks cannot be used, or None."""
    if find_spec("django.tasks") is None:
        return "this Django has no tasks, which came with 6.0"
    return None


def why_no_celery() -> str | None:
    """Return why Celery cannot be used, or None."""
    if find_spec("celery") is None:
        return "Celery is not installed"
    from celery import current_app

    # If the project has no app, this is Celery's default app, with a default broker.
    if not current_app.set_as_current:
        return "the project has made no Celery app"
    return None


# How it is put there


def put_on_celery(name: str, arguments: list[str]) -> str:
    from kombu.exceptions import OperationalError

    try:
        return str(celery_task().delay(name, arguments).id)
    except OperationalError as error:
        said = without_secrets(str(error))
        raise NoQueue(f"Celery's broker did not take the task: {said}") from error


def put_on_django_queue(name: str, arguments: list[str]) -> str:
    """Enqueue with the backend "default" of TASKS."""
    from django.tasks.exceptions import InvalidTask, InvalidTaskBackend

    try:
        # Imported here: a task needs its backend when it is defined.
        from cachelayers.warming import run_in_worker

        return str(run_in_worker.enqueue(name, arguments).id)
    except (InvalidTask, InvalidTaskBackend) as error:
        raise NoQueue(f"TASKS does not take the task: {error}") from error


def option_arguments(options: dict[str, Any]) -> list[str]:
    """Return options of ``warm_cache`` as they are typed."""
    typed = [f"--concurrency={options['concurrency']}", f"--time-limit={options['time_limit']:g}"]
    if options["only_missing"]:
        typed.append("--only-missing")
    typed += [
        f"--{name.replace('_', '-')}={options[name]}"
        for name in ("rate", "shard", "base_url")
        if options[name] is not None
    ]
    typed += [f"--language={code}" for code in options["language"]]
    typed += [f"--header={name}: {value}" for name, value in options["header"]]
    return typed
