"""The running example of the page on DatabaseCache does what the page shows."""

import re
from pathlib import Path
from typing import Any

from django.core.cache import caches
from pytest_django import Settings

from cachelayers.backends import DatabaseCache
from tests.environment import PROJECT

PAGE = (PROJECT / "docs" / "database_cache.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_running_example_runs_as_shown(tmp_path: Path, settings: Settings) -> None:
    shown: dict[str, Any] = {"BASE_DIR": tmp_path}
    exec(BLOCKS[0], shown)
    settings.CACHES = shown["CACHES"]

    for block in BLOCKS[1:]:
        exec(block, shown)

    assert isinstance(caches["default"], DatabaseCache)
    assert [file.name for file in tmp_path.glob("*.sqlite3")] == ["cache.sqlite3"]
