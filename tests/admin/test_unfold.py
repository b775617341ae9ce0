"""The section in the theme of django-unfold, which has its own templates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.admin.with_unfold import SCREENS
from tests.environment import PROJECT


def test_nothing_of_it_breaks_in_the_theme(tmp_path: Path) -> None:
    (tmp_path / "static").mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.admin.with_unfold"],
        cwd=PROJECT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.admin.unfold_settings",
            "TESTPROJECT_DATA": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    pages = json.loads(done.stdout)
    assert {status for status, _ in pages.values()} == {200}
    content = {name: text for name, (_, text) in pages.items()}
    for screen in (*SCREENS, "preview", "result"):
        assert 'class="cachelayers"' in content[screen], screen
        assert "cachelayers/admin.css" in content[screen], screen
        assert "unfold/css/styles.css" in content[screen], screen
    for screen in SCREENS:
        assert f"/admin/cachelayers/{screen}/" in content["index"]
    assert "this row (France)" in content["preview"]
    assert "were logged" in content["result"]
    assert 'value="invalidate_cached_entries"' in content["list"]
    assert 'class="cl-invalidate-link"' in content["row"]
