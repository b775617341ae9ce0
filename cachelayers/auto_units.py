"""Begin units of work automatically for requests, tasks and commands.

The app's ready() calls connect_all().
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Any

from django.core.management.base import BaseCommand

from cachelayers import compat
from cachelayers.invalidation import CommandUnit, OwnUnit, Unit, unit_of_work

MIDDLEWARE = "cachelayers.middleware.unit_of_work_middleware"
# They run until they are stopped, and have no unit. Other commands may last too: see CommandUnit.
ENDLESS_COMMANDS = frozenset({"runserver", "shell", "testserver", "test", "dbshell"})


def connect_all() -> None:
    add_middleware()
    wrap_commands()
    connect_tasks()
    connect_celery()


def add_middleware() -> None:
    """Make each request a unit of work."""
    compat.put_first_in_middleware(MIDDLEWARE)


def wrap_commands() -> None:
    """Make each management command a unit of work."""
    compat.wrap_commands(within_unit)


def within_unit(execute: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that runs a command within a unit of work, except endless commands."""

    def execute_in_unit(self: BaseCommand, *arguments: Any, **options: Any) -> Any:
        if type(self).__module__.rpartition(".")[2] in ENDLESS_COMMANDS:
            return execute(self, *arguments, **options)
        with unit_of_work(kind=CommandUnit):
            return execute(self, *arguments, **options)

    return execute_in_unit


class OpenUnits(threading.local):
    """The units of this thread's running tasks, the outermost first.

    There is one list per thread, because a broker may deliver one task twice, to two threads.
    """

    def __init__(self) -> None:
        self._open: list[tuple[str, AbstractContextManager[Unit]]] = []

    def begin(self, task_id: str) -> None:
        unit = unit_of_work(kind=OwnUnit)
        unit.__enter__()
        self._open.append((task_id, unit))

    def end(self, task_id: str) -> None:
        """End the unit of a task, and those within it whose end was never signalled."""
        while any(name == task_id for name, _ in self._open):
            name, unit = self._open.pop()
            unit.__exit__(None, None, None)
            if name == task_id:
                break


tasks = OpenUnits()


def connect_tasks() -> None:
    """Begin units for Django's own tasks, which exist since Django 6.0."""
    if find_spec("django.tasks") is None:
        return
    from django.tasks.signals import task_finished, task_started

    connect(
        task_started,
        task_finished,
        lambda keywords: f"django:{keywords['task_result'].id}",
    )


def connect_celery() -> None:
    """Begin units for Celery's tasks, if Celery is installed."""
    if find_spec("celery") is None:
        return
    from celery.signals import import_modules, task_postrun, task_prerun

    import_modules.connect(register_celery_task, dispatch_uid="cachelayers.register_task")
    connect(task_prerun, task_postrun, lambda keywords: f"celery:{keywords['task_id']}")


def register_celery_task(**kwargs: Any) -> None:
    """Register the task that runs warmers when a worker imports its tasks.

    autodiscover_tasks() imports cachelayers.tasks, but does not run it again if the admin imported
    it before Celery.
    """
    from cachelayers.tasks import celery_task

    celery_task()


def connect(started: Any, finished: Any, id_of: Callable[[dict[str, Any]], str]) -> None:
    """Begin a unit at one signal and end it at the other."""

    def begin(**keywords: Any) -> None:
        tasks.begin(id_of(keywords))

    def end(**keywords: Any) -> None:
        tasks.end(id_of(keywords))

    started.connect(begin, weak=False, dispatch_uid="cachelayers.begin_unit")
    finished.connect(end, weak=False, dispatch_uid="cachelayers.end_unit")
