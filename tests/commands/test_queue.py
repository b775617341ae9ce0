"""Warmers on a task queue and in a process of their own, as the admin and cron start them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from typing import Any

import celery
import pytest
from celery import _state as celery_state
from django.core.cache import BaseCache
from django.test import override_settings
from django.utils.module_loading import import_string
from pytest_django import Settings

from cachelayers import tasks, warmer
from cachelayers.checks import check_package_settings
from cachelayers.models import WarmerRun
from cachelayers.tasks import NoQueue, enqueue, start_in_background
from cachelayers.warming import runs
from cachelayers.warming.runs import AlreadyRunning, LastRun, RunState, claim, warmer_source
from tests.commands.recorded import run_of
from tests.commands.runs import RunCommand
from tests.commands.small_site.records import Records

HAS_DJANGO_TASKS = find_spec("django.tasks") is not None
IMMEDIATE = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}
DUMMY = {"default": {"BACKEND": "django.tasks.backends.dummy.DummyBackend"}}
needs_django_tasks = pytest.mark.skipif(not HAS_DJANGO_TASKS, reason="came with Django 6.0")


@pytest.fixture
def site(small_site: Records, no_warmers: None) -> Records:
    """The small site, with one hourly warmer."""

    @warmer("pages", every=3600)
    def pages() -> Iterable[str]:
        return ["/page/1/"]

    return small_site


@pytest.fixture
def celery_app() -> Iterator[Any]:
    """The project's Celery app, whose tasks run at once."""
    before = celery_state.default_app, celery_state._tls.current_app
    app = celery.Celery("project", broker="memory://")
    app.conf.task_always_eager = True
    app.set_default()
    yield app
    celery_state.default_app, celery_state._tls.current_app = before


# Which queue


def test_without_a_queue_it_says_how_to_get_one(run: RunCommand, site: Records) -> None:
    result = run("warm_cache", "--enqueue")

    assert result.message.startswith("There is no task queue: TASKS is not set")
    assert "run `warm_cache --due` from cron" in result.message
    assert site.paths == []


@needs_django_tasks
def test_the_queue_of_django_is_taken_where_the_project_has_set_it_up(
    run: RunCommand, site: Records, settings: Settings
) -> None:
    settings.TASKS = IMMEDIATE

    result = run("warm_cache", "pages", "--enqueue")

    assert result.out.startswith("Enqueued: pages (")
    assert site.paths == ["/page/1/"]
    assert run_of("pages").state is RunState.FINISHED
    assert run_of("pages").warmed == 1


@needs_django_tasks
def test_workers_of_django_s_queues_find_the_task_by_its_path() -> None:
    from cachelayers.warming.django_task import run_in_worker

    assert import_string(run_in_worker.module_path) is run_in_worker


def test_celery_is_taken_where_the_project_has_an_app(
    run: RunCommand, site: Records, celery_app: Any
) -> None:
    run("warm_cache", "pages", "--enqueue")

    assert site.paths == ["/page/1/"]
    assert run_of("pages").warmed == 1


@needs_django_tasks
def test_the_setting_decides_between_two_queues(
    site: Records, settings: Settings, celery_app: Any
) -> None:
    settings.TASKS = IMMEDIATE
    assert tasks.queue_in_use() == "django"

    settings.CACHELAYERS = {**settings.CACHELAYERS, "TASK_QUEUE": "celery"}

    assert tasks.queue_in_use() == "celery"


def test_a_queue_that_is_named_and_not_there_is_an_error(
    run: RunCommand, site: Records, settings: Settings
) -> None:
    settings.CACHELAYERS = {**settings.CACHELAYERS, "TASK_QUEUE": "celery"}

    result = run("warm_cache", "--enqueue")

    assert result.message == (
        "CACHELAYERS['TASK_QUEUE'] is 'celery', and the project has made no Celery app."
    )


@needs_django_tasks
@pytest.mark.parametrize(
    "configured",
    [{"other": IMMEDIATE["default"]}, {"default": {**IMMEDIATE["default"], "QUEUES": ["other"]}}],
)
def test_a_queue_of_django_that_does_not_take_it_is_an_error_and_the_warmer_stays_due(
    run: RunCommand, site: Records, settings: Settings, configured: dict[str, Any]
) -> None:
    settings.TASKS = configured

    result = run("warm_cache", "--due", "--enqueue")

    assert result.message.startswith("TASKS does not take the task: ")
    assert run_of("pages").queued_at is None
    assert site.paths == []


def test_a_queue_that_nobody_knows_is_found_by_the_checks(settings: Settings) -> None:
    settings.CACHELAYERS = {**settings.CACHELAYERS, "TASK_QUEUE": "rq"}

    [message] = [one for one in check_package_settings(None) if one.id == "cachelayers.E016"]

    assert message.msg == "CACHELAYERS['TASK_QUEUE'] is 'rq'."


def test_a_broker_that_is_down_is_an_error_and_the_warmer_stays_due(
    run: RunCommand, site: Records, celery_app: Any
) -> None:
    celery_app.conf.task_always_eager = False
    celery_app.conf.broker_url = "redis://127.0.0.1:1/0"
    celery_app.conf.broker_transport_options = {"max_retries": 0}
    celery_app.conf.task_publish_retry = False

    result = run("warm_cache", "--due", "--enqueue")

    assert result.message.startswith("Celery's broker did not take the task: ")
    assert run_of("pages").state is RunState.FINISHED
    assert run_of("pages").queued_at is None


# What is enqueued


@needs_django_tasks
def test_what_waits_in_the_queue_is_not_put_there_again(
    run: RunCommand, site: Records, settings: Settings
) -> None:
    settings.TASKS = DUMMY

    first = run("warm_cache", "--due", "--enqueue")
    second = run("warm_cache", "--due", "--enqueue")
    listed = run("warm_cache", "--list")
    WarmerRun.objects.update(queued=1)  # the queue has lost it, long ago
    third = run("warm_cache", "--due", "--enqueue")

    assert first.out.startswith("Enqueued: pages (")
    assert second.out == "Nothing is due.\n"
    assert "waits in the task queue since" in listed.out
    assert third.out.startswith("Enqueued: pages (")
    assert run_of("pages").state is RunState.QUEUED


@needs_django_tasks
def test_the_options_of_the_command_reach_the_worker(
    run: RunCommand, site: Records, settings: Settings
) -> None:
    settings.TASKS = IMMEDIATE
    settings.MIDDLEWARE = ["django.middleware.locale.LocaleMiddleware"]

    run(
        "warm_cache",
        *("pages", "--enqueue", "--language=fr", "--header=X-Market: north", "--rate=100"),
        *("--shard=1/1", "--only-missing", "--time-limit=0", "--concurrency=1"),
    )

    [request] = site.requests
    assert request.headers["Accept-Language"] == "fr"
    assert request.headers["X-Market"] == "north"


@needs_django_tasks
def test_what_is_put_there_is_the_command_as_it_was_typed(
    run: RunCommand, site: Records, settings: Settings
) -> None:
    settings.TASKS = DUMMY
    typed = [
        *("--concurrency=3", "--time-limit=7", "--only-missing", "--rate=2.5", "--shard=1/2"),
        *("--base-url=http://127.0.0.1:8000", "--language=fr", "--header=X-Market: north"),
    ]

    run("warm_cache", "pages", "--enqueue", *typed)
    run("warm_cache", "pages", "--enqueue")

    from django.tasks import default_task_backend

    queued: Any = default_task_backend
    assert [result.args for result in queued.results] == [
        ["pages", typed],
        ["pages", ["--concurrency=1", "--time-limit=300"]],
    ]


@needs_django_tasks
def test_what_has_ended_is_put_there_again(
    run: RunCommand, site: Records, settings: Settings
) -> None:
    run("warm_cache", "pages")
    settings.TASKS = DUMMY

    start_in_background("pages")

    assert run_of("pages").state is RunState.QUEUED


# In a process


@pytest.fixture
def own_site(
    own_caches: BaseCache, transactional_db: None, no_warmers: None
) -> Iterator[BaseCache]:
    """The small site as other processes have it; this one knows only the names of its warmers."""
    for name in ("squares", "slow squares"):
        warmer(name)(registry_entry(name))
    with override_settings(SETTINGS_MODULE="tests.commands.small_site.settings"):
        yield own_caches


def registry_entry(name: str) -> Callable[[], list[str]]:
    def some() -> list[str]:
        raise AssertionError(f"{name} is to run in another process")

    some.__qualname__ = name
    return some


def wait_for(name: str, state: RunState) -> LastRun:
    deadline = time.monotonic() + 60
    while (run := run_of(name)).state is not state:
        assert time.monotonic() < deadline, run
        time.sleep(0.05)
    return run


def test_a_warmer_runs_in_a_process_while_the_caller_goes_on(own_site: BaseCache) -> None:
    start_in_background("squares", ["--concurrency=2"])
    at_once = run_of("squares")

    run = wait_for("squares", RunState.FINISHED)

    assert at_once.is_running
    assert at_once.process != os.getpid()
    assert (run.warmed, run.failed) == (10, 0)
    assert own_site.get("square:9") == 81


def test_a_warmer_that_runs_in_a_process_is_not_started_again(own_site: BaseCache) -> None:
    start_in_background("slow squares")

    with pytest.raises(AlreadyRunning, match="is being run since"):
        start_in_background("slow squares")

    process = run_of("slow squares").process
    assert os.getsid(process) == process  # it does not get the server's signals
    os.kill(process, 15)
    assert wait_for("slow squares", RunState.INTERRUPTED).done < 1000


def test_a_process_that_dies_before_it_can_say_why_leaves_a_failure(own_site: BaseCache) -> None:
    with override_settings(SETTINGS_MODULE="no.such.settings"):
        start_in_background("squares")

    [failure] = wait_for("squares", RunState.INTERRUPTED).failures
    assert failure.reason == ("its process ended with 1: ModuleNotFoundError: No module named 'no'")


def test_the_options_of_the_caller_reach_the_process(own_site: BaseCache) -> None:
    start_in_background("squares", ["--faster"])

    [failure] = wait_for("squares", RunState.INTERRUPTED).failures
    assert failure.reason.endswith("error: unrecognized arguments: --faster")


def test_a_process_that_dies_says_nothing_of_a_run_that_another_one_has_taken_over(
    own_site: BaseCache,
) -> None:
    source = warmer_source("squares")
    claim(source, time_limit=60)

    runs.record_death(source, "a token of before", 1, "killed")

    assert run_of("squares").is_running
    assert not run_of("squares").failures
    WarmerRun.objects.all().delete()
    runs.record_death(source, "a token of before", 1, "killed")
    assert not WarmerRun.objects.exists()


def test_a_process_that_cannot_be_started_is_no_run(
    own_site: BaseCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "python", lambda: ["/no/such/python"])

    with pytest.raises(OSError, match="/no/such/python"):
        start_in_background("squares")

    assert run_of("squares").state is RunState.INTERRUPTED


def test_a_warmer_that_nobody_knows_is_not_started(own_site: BaseCache) -> None:
    with pytest.raises(LookupError, match=r"There is no warmer 'cubes'\."):
        start_in_background("cubes")


@needs_django_tasks
def test_in_the_background_means_on_the_queue_where_there_is_one(
    site: Records, settings: Settings
) -> None:
    settings.TASKS = DUMMY

    start_in_background("pages")

    assert run_of("pages").state is RunState.QUEUED


@needs_django_tasks
def test_a_warmer_that_is_running_is_not_put_on_the_queue(
    site: Records, settings: Settings
) -> None:
    settings.TASKS = DUMMY
    claim(warmer_source("pages"), time_limit=60)

    with pytest.raises(AlreadyRunning):
        start_in_background("pages")


def test_a_queue_there_is_not_is_an_error_for_code_as_well(site: Records) -> None:
    with pytest.raises(NoQueue, match="There is no task queue"):
        enqueue("pages")


def test_the_interpreter_is_found_where_a_server_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/usr/bin/uwsgi")
    monkeypatch.setattr("sys.exec_prefix", "/srv/venv")

    assert runs.python() == ["/srv/venv/bin/python", "-m", "django"]
