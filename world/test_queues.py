"""Workers of task queues run for days; each task sees the data saved before it began."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import environment
from tests.servers import Redis
from world.conftest import MakeProject, require_server
from world.project import Project

SECONDS = 60  # for one task on a busy machine
CELERY = """
import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "website.settings")
app = Celery("website")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""
ENQUEUE = {
    "qcluster": "from django_q.tasks import async_task\nasync_task('jobs.work.write_names', {!r})",
    "run_huey": "from jobs.tasks import huey_names\nhuey_names({!r})",
    "celery": "import website.celery, jobs.tasks\njobs.tasks.celery_names.delay({!r})",
}


@pytest.fixture
def redis() -> Iterator[Redis]:
    require_server("redis")
    with Redis(environment.make_private_folder("redis")) as server:
        yield server


@pytest.fixture
def site(make_project: MakeProject) -> Project:
    project = make_project("sqlite")
    project.add_app("shop")
    project.add_app("jobs")
    return project


def migrate(site: Project) -> None:
    site.manage("makemigrations", "shop", "-v0")
    site.manage("migrate", "-v0")
    site.manage("migrate", "-v0", "--database=cache")
    site.shell("from shop.models import Product; Product.objects.create(name='tea')")


def assert_tasks_see_changes(site: Project, enqueue: Callable[[str], str]) -> None:
    """Run tasks in one worker, while other processes change data between them."""
    seen = []
    for number, name in enumerate(["tea", "cake", "cake", "pie"]):
        path = site.folder / f"names{number}"
        change = f"from shop.models import Product\nProduct.objects.update(name={name!r})\n"
        site.shell(change + enqueue(str(path)))
        seen.append(wait_for(path))
    assert seen == ["tea", "cake", "cake", "pie"]


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, logs_beside(path)
        time.sleep(0.05)
    return path.read_text()


def logs_beside(path: Path) -> str:
    """Return the output of the workers."""
    return "\n".join(log.read_text() for log in path.parent.glob("*.log"))


def test_django_q2(site: Project) -> None:
    site.add_settings(
        "INSTALLED_APPS += ['django_q']",
        Q_CLUSTER={"name": "world", "workers": 1, "orm": "default", "poll": 0.1, "recycle": 100},
    )
    migrate(site)
    with site.process("qcluster"):
        assert_tasks_see_changes(site, ENQUEUE["qcluster"].format)


def test_huey(site: Project) -> None:
    site.add_settings(
        "INSTALLED_APPS += ['huey.contrib.djhuey']",
        "HUEY = {'huey_class': 'huey.SqliteHuey', 'immediate': False,"
        " 'filename': str(BASE_DIR / 'huey.sqlite3')}",
    )
    migrate(site)
    with site.process("run_huey", "--workers=1", "--worker-type=thread", "--delay=0.05"):
        assert_tasks_see_changes(site, ENQUEUE["run_huey"].format)


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_celery(site: Project, redis: Redis, pool: str) -> None:
    site.add_settings(
        CELERY_BROKER_URL=f"redis://127.0.0.1:{redis.port}/0", CELERY_TASK_IGNORE_RESULT=True
    )
    site.write("website/celery.py", CELERY)
    migrate(site)
    worker = ("-m", "celery", "-q", "-A", "website", "worker", f"--pool={pool}", "-c", "2")
    with site.process(*worker, "--without-gossip", "--without-mingle", "--without-heartbeat"):
        assert_tasks_see_changes(site, ENQUEUE["celery"].format)
