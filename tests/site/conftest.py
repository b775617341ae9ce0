"""A small world, a cache of layers as the site has it, and worker processes of the site itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache

from testproject.pages.models import Page
from tests.conftest import end_process
from tests.environment import PROJECT
from tests.site.atlas import fill_atlas

# Statements of a warm page: one look at the log tells whether others have written to the cache, and
# whether the tables that the page was made from have changed.
WARM_QUERIES = 1


@pytest.fixture(autouse=True)
def layered_cache(settings: Any) -> None:
    """Have the layers of the site's own settings, on the databases of the tests."""
    settings.CACHES = {**settings.CACHES, "default": settings.CACHES["memory_table"]}


@pytest.fixture
def empty_cache(transactional_db: None) -> None:
    """With real commits: in a transaction that has written, nothing is served from caches."""
    cache.clear()


@pytest.fixture
def atlas(empty_cache: None) -> None:
    """Eight airports in five countries, and a sixth country without any."""
    fill_atlas()


@pytest.fixture
def page(empty_cache: None) -> Page:
    return Page.objects.create(
        slug="about", title="About us", text="We count **airports**.", menu_position=1
    )


# The site itself, with its own settings, in other processes


def site_environment(folder: Path, redis_url: str = "") -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "testproject.settings",
        "TESTPROJECT_DATA": str(folder),
        "TESTPROJECT_REDIS": redis_url,
    }


def run_in(folder: Path, *command: str, redis_url: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python with the site's own settings and its data in ``folder``."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=PROJECT,
        env=site_environment(folder, redis_url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Worker:
    """A process of the site that answers requests: see tests/site/worker.py."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.site.worker"],
            cwd=PROJECT,
            env=site_environment(folder, redis_url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ask(self, *words: str) -> dict[str, Any]:
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(json.dumps(words) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, process.stderr.read()
        answer: dict[str, Any] = json.loads(line)
        return answer


StartWorker = Callable[[], Worker]


@pytest.fixture(scope="session")
def new_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a site with three pages and the user demo, to be copied."""
    folder = tmp_path_factory.mktemp("site")
    for command in (
        ["migrate"],
        ["migrate", "cachelayers", "--database=cache"],
        ["collectstatic", "--no-input"],
        ["load_pages"],
        ["create_demo_user"],
    ):
        done = run_in(folder, "manage.py", *command)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def site_redis_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of the Redis that the site uses; a test may ask for one."""
    return ""


@pytest.fixture
def start_worker(new_site: Path, tmp_path: Path, site_redis_url: str) -> Iterator[StartWorker]:
    """Return a function that starts one more worker of the same site."""
    folder = tmp_path / "var"
    shutil.copytree(new_site, folder)
    workers: list[Worker] = []

    def start() -> Worker:
        workers.append(Worker(folder, site_redis_url))
        return workers[-1]

    yield start
    for worker in workers:
        end_process(worker.process)
