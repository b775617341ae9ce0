"""The admin and the toolbar speak German and French: the catalogues are whole, and used."""

from __future__ import annotations

import gettext
import re
from typing import Any

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po
from django.test import Client
from django.utils import translation
from pytest_django import Settings

from tests.admin.catalogues import LOCALE, texts
from tests.admin.conftest import SECTION, said

LANGUAGES = sorted(path.name for path in LOCALE.iterdir())
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%[sd]")


def source_of(language: str) -> Catalog:
    with (LOCALE / language / "LC_MESSAGES" / "django.po").open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


def compiled(language: str) -> dict[Any, str]:
    with (LOCALE / language / "LC_MESSAGES" / "django.mo").open("rb") as file:
        catalogue: dict[Any, str] = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    return catalogue


def test_the_languages_are_german_and_french() -> None:
    assert LANGUAGES == ["de", "fr"]


def forms_of(found: Any) -> tuple[str, ...]:
    """Return the singular and plural of a text or of a translation."""
    return (found,) if isinstance(found, str) else tuple(found)


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_text_has_a_translation_with_the_same_placeholders(language: str) -> None:
    wanted = {forms_of(text) for text, _ in texts()}
    messages = [message for message in source_of(language) if message.id]

    assert {forms_of(message.id) for message in messages} == wanted
    for message in messages:
        pairs = zip(forms_of(message.id), forms_of(message.string), strict=True)
        assert not message.fuzzy, message.id
        for original, form in pairs:
            assert form, message.id
            assert sorted(PLACEHOLDER.findall(form)) == sorted(PLACEHOLDER.findall(original))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_compiled_catalogue_is_that_of_its_source(language: str) -> None:
    """If it is not: `cd cachelayers && django-admin compilemessages`."""
    expected: dict[Any, str] = {}
    for message in source_of(language):
        forms = forms_of(message.string)
        if isinstance(message.id, str):
            expected[message.id] = forms[0]
        else:
            expected |= {(message.id[0], number): form for number, form in enumerate(forms)}
    found = compiled(language)
    del expected[""], found[""]

    assert found == expected


def test_the_screens_and_the_panel_are_shown_in_german(boss: Client, settings: Settings) -> None:
    settings.LANGUAGE_CODE = "de"

    with translation.override("de"):
        overview = boss.get(f"{SECTION}overview/")
        entries = said(boss.get(f"{SECTION}entries/", {"alias": "table", "text": "none"}))
        from cachelayers.panels import OUTCOMES

        outcome = str(OUTCOMES["joined"])

    assert "Caches und ihre Schichten: letzte Stunde, alle Prozesse" in said(overview)
    assert re.search(r"0 von 64 MiB|KiB von 64 MiB", said(overview))
    assert "Trefferquote" in said(overview)
    assert "Einen solchen Eintrag gibt es nicht." in entries
    [section] = [one for one in overview.context["available_apps"] if one["name"] == "Cache"]
    assert [model["name"] for model in section["models"]][:2] == ["Übersicht", "Ungültig machen"]
    assert outcome == "auf einen anderen Thread gewartet"
