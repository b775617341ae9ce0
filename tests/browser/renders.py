"""Writes the templates that a site renders to a file, one line each, by Django's test signal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.template import Template
from django.test.signals import template_rendered
from django.test.utils import instrumented_test_render  # type: ignore[attr-defined] # no stub has it

FILE_NAME = "renders.log"


def note_renders(folder: Path) -> None:
    """Begin to record, in this process of the site."""

    def note(template: Template, **kwargs: Any) -> None:
        # Opened for each line, because the reader empties it and the other worker writes to it too.
        with (folder / FILE_NAME).open("a") as file:
            file.write(f"{template.name}\n")

    Template._render = instrumented_test_render  # type: ignore[attr-defined] # no stub has it
    template_rendered.connect(note, weak=False, dispatch_uid="tests.browser.renders")


def take_renders(folder: Path) -> list[str]:
    """Return the names of the templates rendered since the last call."""
    path = folder / FILE_NAME
    names = path.read_text().splitlines() if path.exists() else []
    path.write_text("")
    return names
