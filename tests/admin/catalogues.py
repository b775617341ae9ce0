"""The texts of the package that are to be translated, as makemessages finds them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from babel.messages.extract import extract
from django.utils.translation.template import templatize

PACKAGE = Path(__file__).parents[2] / "cachelayers"
LOCALE = PACKAGE / "locale"
KEYWORDS: Any = {"_": None, "gettext": None, "gettext_lazy": None, "ngettext": (1, 2)}

Text = str | tuple[str, ...]  # singular and plural


def texts() -> Iterator[tuple[Text, Path]]:
    """Yield each text with the file that contains it."""
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.html")]):
        source = path.read_text(encoding="utf-8")
        if path.suffix == ".html":
            source = templatize(source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _, text, *_ in extract("python", io.BytesIO(source.encode()), KEYWORDS):
                if text:
                    yield text, path.relative_to(PACKAGE)
