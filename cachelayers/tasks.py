"""Run warmers elsewhere than in a command or a request: on a task queue, or in a process.

Celery's workers find this module by ``autodiscover_tasks()``. If it was imported before Celery, as
the admin does, cachelayers.auto_units registers the task.
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
    note_queued,
    registered_warmers,
    run_warmer,
    start_process,
    warmer_source,
)

DJANGO, CELERY = "django", "celery"


class NoQueue(CacheLayersError):
    """There is no task queue to put a warmer on; the message names the cure."""


@cache
def celery_task() -> Any:
    """Return the task of Celery that runs a warmer, registered with whatever app there is."""
    from celery import shared_task

    return shared_task(name="cachelayers.run_warmer")(run_warmer)


if "celery" in sys.modules:  # as in every worker; to import it takes others a tenth of a second
    celery_task()


def enqueue(name: str, arguments: Sequence[str] = (), *, shard: str = "") -> str:
    """Put a warmer on the task queue and return the task's id; raises NoQueue.

    ``arguments``: options of ``warm_cache``, as they are typed; ``shard``: the one among them.
    """
    put = put_on_celery if queue_in_use() == CELERY else put_on_django_queue
    source = warmer_source(name, shard)
    # Before, because a queue may well run it at once: its own record is not to be written over.
    with suppress(DatabaseError):
        note_queued(source)
    try:
        return put(name, list(arguments))
    except NoQueue:
        with suppress(DatabaseError):
            forget_queued(source)
        raise


def start_in_background(name: str, arguments: Sequence[str] = ()) -> None:
    """Have a warmer run while the caller goes on: on the queue if there is one, else in a process.

    For the admin: it outlives the request. How far it is, ``last_runs()`` tells. Raises LookupError
    for an unknown warmer, AlreadyRunning where another process is at it, NoQueue where the queue
    does not take it, OSError where no process can be started.
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
    """Tell whether enqueue() would find one."""
    try:
        queue_in_use()
    except NoQueue:
        return False
    return True


def queue_in_use() -> str:
    """Return whose queue it is: what CACHELAYERS["TASK_QUEUE"] says, or what the project uses."""
    named = package_settings().TASK_QUEUE
    if named in {DJANGO, CELERY}:
        reason = why_no_django_queue() if named == DJANGO else why_no_celery()
        if reason:
            raise NoQueue(f"CACHELAYERS['TASK_QUEUE'] is {named!r}, and {reason}.")
        return str(named)
    # Without the setting, Django runs tasks at once, in the process that wanted to be rid of them.
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

    # Where the project has made no app, this is one that Celery made up, with a broker that it
    # made up as well.
    if not current_app.set_as_current:
        return "the project has made no Celery app"
    return None


# How it is put there


def put_on_celery(name: str, arguments: list[str]) -> str:
    """Send a message to Celery's broker."""
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
        # Not above: as a task it belongs to a backend, which has to be there.
        from cachelayers.warming.django_task import run_in_worker

        return str(run_in_worker.enqueue(name, arguments).id)
    except (InvalidTask, InvalidTaskBackend) as error:
        raise NoQueue(f"TASKS does not take the task: {error}") from error


def option_arguments(options: dict[str, Any]) -> list[str]:
    """Return how options of ``warm_cache`` are typed, for whoever is to run it later."""
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
