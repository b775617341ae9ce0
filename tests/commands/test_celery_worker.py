"""A real Celery worker runs what the command has enqueued."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from django.core.cache import BaseCache

from cachelayers.warming.runs import RunState
from tests.commands.recorded import run_of
from tests.commands.runs import environment, run_without_terminal
from tests.environment import PROJECT, server_port

APP = "tests.commands.small_site.celery_app"


@pytest.fixture
def broker(own_caches: BaseCache, transactional_db: None) -> str:
    return f"redis://127.0.0.1:{server_port('redis')}/14"


@pytest.fixture
def worker(broker: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "celery", "-q", "-A", APP, "worker", "--pool=solo"]
    with subprocess.Popen(
        [*command, "--without-gossip", "--without-mingle", "--without-heartbeat"],
        cwd=PROJECT,
        env=environment(SMALL_SITE_BROKER=broker),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        yield process
        process.kill()


@pytest.mark.redis
def test_a_worker_runs_what_was_enqueued(
    broker: str, worker: subprocess.Popen[bytes], own_caches: BaseCache
) -> None:
    result = run_without_terminal(
        *("warm_cache", "squares", "--enqueue", "--concurrency=2"),
        SMALL_SITE_BROKER=broker,
        SMALL_SITE_CELERY=APP,
    )

    assert result.stdout.startswith("Enqueued: squares (")
    deadline = time.monotonic() + 60
    while (run := run_of("squares")).state is not RunState.FINISHED:
        assert time.monotonic() < deadline, run
        assert worker.poll() is None
        time.sleep(0.05)
    assert (run.warmed, run.failed, run.process) == (10, 0, worker.pid)
    assert run.process != os.getpid()
    assert own_caches.get("square:9") == 81
