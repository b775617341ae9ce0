"""Wrong settings are errors of the checks, with advice."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from cachelayers.checks import check_package_settings


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ({"STRICT": "yes"}, "E014"),
        ({"STRICT": None}, "E014"),
        ({"STATIC_DEV_MODE": 1}, "E014"),
        ({"STATIC_LOG": "DEBUG"}, "E014"),
        ({"STATIC_RECHECK_SECONDS": "60"}, "E015"),
        ({"STATIC_RECHECK_SECONDS": -1}, "E015"),
        ({"STATIC_RECHECK_SECONDS": True}, "E015"),
        ({"STATIC_RECHECK_SECONDS": float("inf")}, "E015"),
        ({"STATIC_RECHECK_SECONDS": float("nan")}, "E015"),
        ({"STATIC_DEVMODE": True}, "E007"),
    ],
)
def test_a_wrong_value_is_named_with_its_cure(given: dict[str, Any], number: str) -> None:
    with override_settings(CACHELAYERS=given):
        [found] = check_package_settings(None)

    [name] = given
    assert found.id == f"cachelayers.{number}"
    assert repr(name) in found.msg
    assert found.hint


@pytest.mark.parametrize(
    "given",
    [
        {"STRICT": True, "STATIC_DEV_MODE": False, "STATIC_LOG": True},
        {"STATIC_DEV_MODE": None, "STATIC_RECHECK_SECONDS": None},
        {"STATIC_RECHECK_SECONDS": 0},
        {"STATIC_RECHECK_SECONDS": 2.5},
    ],
)
def test_right_values_are_no_errors(given: dict[str, Any]) -> None:
    with override_settings(CACHELAYERS=given):
        assert check_package_settings(None) == []
