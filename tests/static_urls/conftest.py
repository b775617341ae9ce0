"""Fixtures of the static-URL tests: a folder of collected files, both template engines."""

from __future__ import annotations

import hashlib
import os
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from django.template import Context, Template
from jinja2 import Environment
from pytest_django import Settings

from tests.state import reset

Call = Callable[[str, object], str]


def id_of(content: bytes) -> str:
    return hashlib.sha384(content).hexdigest()[:32]


def integrity_of(content: bytes) -> str:
    return f"sha384-{b64encode(hashlib.sha384(content).digest()).decode()}"


def write(path: Path, content: bytes, *, second: int | None = None) -> Path:
    """Write a file; ``second`` is its modification time, if files must differ in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if second is not None:
        os.utime(path, (second, second))
    return path


@pytest.fixture(autouse=True)
def fresh(settings: Settings) -> Iterator[None]:
    """Start with nothing remembered, nothing reported, and an empty shared cache."""
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "LOCATION": str(uuid4()),
        }
    }
    settings.CACHELAYERS = {"TRACK": []}
    forget()
    yield
    forget()


def forget() -> None:
    """Forget everything, like a new process."""
    reset("staticfiles")


@pytest.fixture
def root(settings: Settings, tmp_path: Path) -> Path:
    """STATIC_ROOT in production, with one file."""
    settings.STATIC_ROOT = tmp_path / "static"
    write(tmp_path / "static" / "img" / "car.jpg", b"a car")
    return tmp_path / "static"


@pytest.fixture
def finder_root(settings: Settings, tmp_path: Path) -> Path:
    """A folder of STATICFILES_DIRS, with one file that is not collected."""
    folder = tmp_path / "sources"
    write(folder / "img" / "car.jpg", b"a car that was not collected")
    settings.STATICFILES_DIRS = [folder]
    settings.STATIC_ROOT = tmp_path / "static"
    return folder


def call_in_django(name: str, path: object) -> str:
    text = f"{{% load cachelayers %}}{{% {name} path %}}"
    return Template(text).render(Context({"path": path}, autoescape=False))


def call_in_jinja(name: str, path: object) -> str:
    environment = Environment(extensions=["cachelayers.jinja.CacheLayersExtension"])
    return environment.from_string(f"{{{{ {name}(path) }}}}").render(path=path)


def write_in_jinja(name: str, path: object) -> str:
    environment = Environment(extensions=["cachelayers.jinja.CacheLayersExtension"])
    return environment.from_string(f"{{% {name} path %}}").render(path=path)


@pytest.fixture(
    params=[call_in_django, call_in_jinja, write_in_jinja], ids=["django", "jinja2", "jinja2-tag"]
)
def call(request: pytest.FixtureRequest) -> Call:
    """A function that renders one tag or function in a template, with a path."""
    function: Call = request.param
    return function
