"""The benchmark of static URLs measures every contender, and notices a URL that is none."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.static_urls import CONTENDERS, FILES, checked
from tests.environment import PROJECT


def test_every_contender_is_measured_beside_the_manifest() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "benchmarks.static_urls", "--rounds=1"],
        cwd=PROJECT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    ).stdout

    assert all(contender.name in printed for contender in CONTENDERS)
    assert printed.count("x)") == 3 * (len(CONTENDERS) - 1)


@pytest.mark.parametrize("line", ["", "/static/site/file.css?cache_id=ERROR_MISSING_FILE"])
def test_a_rendering_that_is_not_what_was_asked_for_ends_the_run(line: str) -> None:
    good = ["/static/site/file.css"] * (FILES - 1)

    with pytest.raises(AssertionError, match="not what was asked for"):
        checked("\n".join([*good[:5], line, *good[5:]]))
    assert checked("\n".join([*good, "sha384-x"]))
