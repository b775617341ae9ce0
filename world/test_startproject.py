"""A new project runs its tests like its author, on each kind of database."""

from __future__ import annotations

import re
import shutil

import pytest

from world.conftest import MakeProject, refuse
from world.project import Project

DATABASES = ("sqlite", "postgres", "mariadb")
URLS = """
from django.urls import include, path

urlpatterns = [path("shop/", include("shop.urls"))]
"""
PYTEST = ("-m", "pytest", "-q", "-p", "no:randomly", "--ds=website.settings", "shop")


@pytest.fixture(params=DATABASES)
def shop(request: pytest.FixtureRequest, make_project: MakeProject) -> Project:
    project = make_project(request.param)
    project.add_app("shop")
    project.write("website/urls.py", URLS)
    project.manage("makemigrations", "shop", "-v0")
    return project


def test_the_tests_of_a_new_project_pass(shop: Project) -> None:
    assert "Ran 12 tests" in shop.manage("test")


def test_they_pass_in_parallel(shop: Project) -> None:
    if "backends.mysql" in shop.settings() and shutil.which("mysqldump") is None:
        refuse("mysqldump is missing, with which Django clones a database (mariadb-client)")
    assert "Ran 12 tests" in shop.manage("test", "--parallel", "2", "--shuffle")


def test_they_pass_with_pytest(shop: Project) -> None:
    assert passed_by(shop.python(*PYTEST, "--create-db", "--reuse-db")) == 10
    assert passed_by(shop.python(*PYTEST, "--reuse-db", "-n", "2")) == 10


def passed_by(output: str) -> int:
    """Return the number of passed tests in pytest's last line."""
    found = re.search(r"(\d+) passed in", output)
    assert found, output
    return int(found[1])


def test_a_test_run_leaves_the_site_and_its_cache_as_they_were(shop: Project) -> None:
    shop.manage("migrate", "-v0")
    if "cache" in shop.shell("from django.db import connections; print(*connections)"):
        shop.manage("migrate", "-v0", "--database=cache")
    read = "from django.core.cache import cache; print(cache.get('mine'))"
    shop.shell("from django.core.cache import cache; cache.set('mine', 'kept')")
    assert shop.shell(read) == "kept"

    shop.manage("test")

    assert shop.shell(read) == "kept"
