"""The examples of the commands' pages do what the pages show."""

import re
import shlex
from argparse import SUPPRESS, Action
from collections.abc import Iterator
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.management import CommandError, call_command, load_command_class
from django.core.management.base import BaseCommand
from pytest_django import Settings

from cachelayers.management.commands import clear_cache
from tests.environment import PROJECT

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHANGING = {
    r"in \d+\.\d s": "in N s",
    r'"seconds": [\d.]+': '"seconds": N',
    r"\([\w-]{8,}\)$": "(ID)",
}
HAS_DJANGO_TASKS = find_spec("django.tasks") is not None
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
    return unchanging(out.getvalue())


def unchanging(text: str) -> str:
    for pattern, name in CHANGING.items():
        text = re.sub(pattern, name, text, flags=re.MULTILINE)
    return text


def check_console(block: str) -> None:
    command, _, expected = block.removeprefix(PROMPT).partition("\n")
    assert run_command(command) == unchanging(expected)


@pytest.mark.usefixtures("small_site", "no_warmers")
def test_the_example_of_warm_cache_runs_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.chdir(tmp_path)
    checked = 0

    for kind, block in blocks_of("warm_cache.md"):
        if kind == "python":
            use_queue(settings, run_python(block))
        elif kind == "text":
            Path("urls.txt").write_text(block, encoding="utf-8")
        elif kind == "console" and (HAS_DJANGO_TASKS or "--enqueue" not in block):
            check_console(block)
            checked += 1

    assert checked == (7 if HAS_DJANGO_TASKS else 6)


def use_queue(settings: Settings, names: dict[str, Any]) -> None:
    """Use the page's queue, with a backend that needs no other package."""
    if "TASKS" in names and HAS_DJANGO_TASKS:
        dummy = "django.tasks.backends.dummy.DummyBackend"
        settings.TASKS = {"default": {**names["TASKS"]["default"], "BACKEND": dummy}}


@pytest.mark.usefixtures("own_caches", "transactional_db")
def test_the_example_of_clear_cache_runs_as_shown(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clear_cache, "connections", ["default"])  # of the page's site
    checked = 0

    for kind, block in blocks_of("clear_cache.md"):
        if kind == "python":
            apply_settings(settings, run_python(block))
        else:
            check_console(block)
            checked += 1

    assert checked == 5


@pytest.mark.parametrize("command", ["warm_cache", "clear_cache", "cache_stats"])
def test_every_option_is_on_the_page(command: str) -> None:
    page = (PROJECT / "docs" / f"{command}.md").read_text(encoding="utf-8")
    parser = load_command_class("cachelayers", command).create_parser("manage.py", command)
    usual = BaseCommand().create_parser("manage.py", command)

    own = {name for action in parser._actions for name in shown_options(action)}
    own -= {name for action in usual._actions for name in shown_options(action)}

    assert own
    assert {name for name in own if f"`{name}" not in page} == set()


def shown_options(action: Action) -> list[str]:
    return [] if action.help == SUPPRESS else list(action.option_strings)


def apply_settings(settings: Settings, names: dict[str, Any]) -> None:
    for name, value in names.items():
        if name == "CACHES":
            value["default"]["LOCATION"] = "sqlite_cache"
        if name.isupper():
            setattr(settings, name, value)
