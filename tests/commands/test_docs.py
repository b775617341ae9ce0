"""Every example of the commands' pages does what the page shows."""

import re
import shlex
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from tests.environment import PROJECT

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = re.compile(r"in \d+\.\d s")
PROMPT = "$ python manage.py "


def blocks_of(page: str) -> Iterator[tuple[str, str]]:
    for match in BLOCK.finditer((PROJECT / "docs" / page).read_text(encoding="utf-8")):
        yield match[1], match[2]


def run_python(code: str) -> dict[str, Any]:
    module = ModuleType("atlas.warmers")
    exec(compile(code, "atlas/warmers.py", "exec"), module.__dict__)
    return module.__dict__


def run_command(typed: str) -> str:
    out = StringIO()
    try:
        call_command(*shlex.split(typed), stdout=out, stderr=out, no_color=True)
    except CommandError as error:
        out.write(f"CommandError: {error}\n")
    return SECONDS.sub("in N s", out.getvalue())


def check_console(block: str) -> None:
    command, _, expected = block.removeprefix(PROMPT).partition("\n")
    assert run_command(command) == SECONDS.sub("in N s", expected)


@pytest.mark.usefixtures("small_site", "no_warmers")
def test_the_example_of_warm_cache_runs_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checked = 0

    for kind, block in blocks_of("warm_cache.md"):
        if kind == "python":
            run_python(block)
        elif kind == "text":
            Path("urls.txt").write_text(block, encoding="utf-8")
        else:
            check_console(block)
            checked += 1

    assert checked == 4


@pytest.mark.usefixtures("own_caches")
def test_the_example_of_clear_cache_runs_as_shown(
    settings: Settings, django_db_setup: None
) -> None:
    checked = 0

    for kind, block in blocks_of("clear_cache.md"):
        if kind == "python":
            apply_settings(settings, run_python(block))
        else:
            check_console(block)
            checked += 1

    assert checked == 4


def apply_settings(settings: Settings, names: dict[str, Any]) -> None:
    for name, value in names.items():
        if name == "CACHES":
            value["default"]["LOCATION"] = "sqlite_cache"
        if name.isupper():
            setattr(settings, name, value)
