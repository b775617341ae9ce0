"""Django's own cache tests pass on each of our caches, except for the differences listed here.

Their code comes from the sdist of the installed version, from the package index.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import django
import pytest

from tests import environment
from world.conftest import MakeProject, caches_on

DOCS = environment.PROJECT / "docs" / "limits.md"
SDISTS = environment.PROJECT / ".ci" / "venvs" / "sdists"
DOWNLOAD = ("download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest")

# They count the remaining entries: Django deletes every third, we evict the least used.
EVICTION = ["test_cull", "test_zero_cull"]
# They read an alias's entries through another alias: ours do not share entries.
ALIASES = [
    "test_cache_versioning_add",
    "test_cache_versioning_delete",
    "test_cache_versioning_get_set",
    "test_cache_versioning_get_set_many",
    "test_cache_versioning_has_key",
    "test_cache_versioning_incr_decr",
    "test_custom_key_func",
]
# A LayeredCache has the limits of its layers, and clear() does not affect other aliases.
LAYERED = ["test_cull_delete_when_store_empty", "test_incr_version"]


def layered(*layers: str) -> dict[str, Any]:
    options = {"LAYERS": layers, "BUS": "log"}
    return {"BACKEND": "cachelayers.backends.LayeredCache", "OPTIONS": options}


def stack_of(name: str, database: str) -> dict[str, Any]:
    """Return the aliases of CACHES in a stack."""
    given = caches_on("cache" if database == "sqlite" else "default")
    memory, table = given["memory"], given["database"]
    match name:
        case "memory":
            return {"default": memory}
        case "table":
            return {"default": table}
    return {"default": layered("memory", "database"), "memory": memory, "database": table}


STACKS = {
    ("memory", "sqlite"): EVICTION,
    ("table", "sqlite"): EVICTION + ALIASES,
    ("memory and table", "sqlite"): EVICTION + ALIASES + LAYERED,
}


@pytest.fixture(scope="session")
def djangos_tests() -> Path:
    """Return the archive with Django's tests, for the installed version."""
    version = django.__version__
    SDISTS.mkdir(parents=True, exist_ok=True)
    with environment.only_one_process(SDISTS / "lock"):
        if not [*SDISTS.glob(f"?jango-{version}.tar.gz")]:
            download(version)
    [archive] = SDISTS.glob(f"?jango-{version}.tar.gz")
    return archive


def download(version: str) -> None:
    command = [sys.executable, "-m", "pip", *DOWNLOAD, str(SDISTS), f"Django=={version}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    if done.returncode:
        pytest.fail(
            f"Django's tests come from the package index, and the sdist of {version} could not be"
            f" downloaded. Is there a network?\n{done.stderr}",
            pytrace=False,
        )


@pytest.mark.parametrize(("name", "database"), STACKS)
def test_djangos_own_cache_tests(
    make_project: MakeProject, djangos_tests: Path, name: str, database: str
) -> None:
    project = make_project(database)
    with tarfile.open(djangos_tests) as archive:
        for member in archive.getmembers():
            found = re.fullmatch(r"[^/]+/tests/(cache/.*\.(py|html))", member.name)
            if found and "tests_" not in member.name:
                member.name = found[1]
                archive.extract(member, project.folder, filter="data")
    project.add_settings("INSTALLED_APPS += ['cache']", USE_TZ=False, LANGUAGE_CODE="en")
    project.add_app("suite")

    output = project.manage(
        "test",
        "suite",
        STACK=json.dumps(stack_of(name, database)),
        DIFFERENCES=json.dumps(STACKS[name, database]),
    )

    assert f"expected failures={len(STACKS[name, database])})" in output
    assert int(re.search(r"Ran (\d+) tests", output)[1]) > 60  # type: ignore[index]


def test_the_differences_are_in_the_docs() -> None:
    text = DOCS.read_text()
    for name in EVICTION + ALIASES + LAYERED:
        assert name in text or name.replace("test_cache_versioning", "...") in text
