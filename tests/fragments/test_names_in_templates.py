"""The names of fragments are found in the templates of every engine, for the commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_django import Settings

from cachelayers.fragments.sources import names_in_templates


@pytest.fixture
def folder(settings: Settings, tmp_path: Path) -> Path:
    """Return the only folder of templates, which two engines share."""
    backends = ("django.DjangoTemplates", "jinja2.Jinja2")
    settings.TEMPLATES = [
        {"BACKEND": f"django.template.backends.{backend}", "DIRS": [tmp_path]}
        for backend in backends
    ]
    return tmp_path


def test_names_are_found_in_every_form_and_folder(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "page.html").write_text(
        "{% fragment \"double\" x %}{% endfragment %}{%- fragments 'single' for a in b %}"
    )
    (folder / "deep" / "mail.txt").write_text('{%fragment "close"%}{% fragment name %}')

    assert names_in_templates() == {"double", "single", "close"}


def test_what_is_no_template_is_passed_by(folder: Path) -> None:
    (folder / "binary").write_bytes(b'\xff\xfe{% fragment "kept" %}\x00')
    (folder / "gone").symlink_to(folder / "nowhere")
    (folder / "huge").write_text('{% fragment "huge" %}' + " " * 2**20)

    assert names_in_templates() == {"kept"}
