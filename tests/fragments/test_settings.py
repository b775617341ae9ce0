"""Wrong settings of fragments are errors of the checks, with advice."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from cachelayers.checks import check_package_settings


@pytest.mark.parametrize("value", [7, None, b"a"])
def test_a_salt_that_is_no_text_is_named_with_its_cure(value: Any) -> None:
    with override_settings(CACHELAYERS={"DEPLOY_SALT": value}):
        [found] = check_package_settings(None)

    assert found.id == "cachelayers.E024"
    assert f"CACHELAYERS['DEPLOY_SALT'] is {value!r}" in found.msg
    assert "revision" in str(found.hint)


def test_a_text_is_right() -> None:
    with override_settings(CACHELAYERS={"DEPLOY_SALT": "3f1c2ab"}):
        assert check_package_settings(None) == []
