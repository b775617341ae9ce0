"""Have requests, tasks and commands begin a unit of work by themselves. Connected by apps."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from cachelayers.invalidation.units import CommandUnit, OwnUnit, Unit, unit_of_work

MIDDLEWARE = "cachelayers.middleware.unit_of_work_middleware"
# They last until somebody stops them, and have no unit. Others may last too: see CommandUnit.
ENDLESS_COMMANDS = frozenset({"runserver", "shell", "testserver", "test", "dbshell"})
# Not `__wrapped__`, which every wrapper has. A wrapper around ours takes this over, and rightly.
OURS = "_begins_cachelayers_unit"


def connect_all() -> None:
    """Connect to everything that begins and ends work."""
    add_middleware()
    wrap_commands()
    connect_tasks()
    connect_celery()


def add_middleware() -> None:
    """Put the middleware in front, unless the project has given it a place of its own.

    Not the request signals: Django sends them in tasks of their own under ASGI, from where no
    context variable comes back.
    """
    if MIDDLEWARE not in settings.MIDDLEWARE:
        given: Any = settings.MIDDLEWARE  # a list, or a tuple, as the project has it
        others = (MIDDLEWARE, *given)
        settings.MIDDLEWARE = others if isinstance(given, tuple) else list(others)


def wrap_commands() -> None:
    """Wrap the one method that runs every management command; there is no signal for it."""
    execute = BaseCommand.execute
    if hasattr(execute, OURS):
        return

    @functools.wraps(execute)
    def execute_in_unit(self: BaseCommand, *arguments: Any, **options: Any) -> Any:
        if type(self).__module__.rpartition(".")[2] in ENDLESS_COMMANDS:
            return execute(self, *arguments, **options)
        with unit_of_work(kind=CommandUnit):
            return execute(self, *arguments, **options)

    setattr(execute_in_unit, OURS, True)
    BaseCommand.execute = execute_in_unit  # type: ignore[method-assign]


class OpenUnits(threading.local):
    """The units of this thread's tasks that have begun and not ended, the outermost first.

    By the id of the task, and not by it alone: a broker may deliver one task twice, to two threads.
    """

    def __init__(self) -> None:
        """Begin with none, in each thread."""
        self._open: list[tuple[str, AbstractContextManager[Unit]]] = []

    def begin(self, task_id: str) -> None:
        """Begin the unit of a task."""
        unit = unit_of_work(kind=OwnUnit)
        unit.__enter__()
        self._open.append((task_id, unit))

    def end(self, task_id: str) -> None:
        """End it, and those within it whose end nobody has told."""
        while any(name == task_id for name, _ in self._open):
            name, unit = self._open.pop()
            unit.__exit__(None, None, None)
            if name == task_id:
                break


tasks = OpenUnits()


def connect_tasks() -> None:
    """Connect to Django's own tasks, which came with Django 6.0."""
    if find_spec("django.tasks") is None:
        return
    from django.tasks.signals import task_finished, task_started

    connect(
        task_started,
        task_finished,
        lambda keywords: f"django:{keywords['task_result'].id}",
    )


def connect_celery() -> None:
    """Connect to Celery's tasks, where Celery is installed."""
    if find_spec("celery") is None:
        return
    from celery.signals import import_modules, task_postrun, task_prerun

    import_modules.connect(register_celery_task, dispatch_uid="cachelayers.register_task")
    connect(task_prerun, task_postrun, lambda keywords: f"celery:{keywords['task_id']}")


def register_celery_task(**kwargs: Any) -> None:
    """Register the task that runs warmers when a worker imports its tasks.

    autodiscover_tasks() imports cachelayers.tasks, but does not run it again if the admin has
    imported it before Celery was there.
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
