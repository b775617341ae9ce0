"""System checks report invalid settings, with the setting, its value and a hint."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import get_commands
from django.db import connections
from pytest_django import Settings

from cachelayers import checks
from cachelayers.checks import (
    check_caches,
    check_declared_tags,
    check_package_settings,
    command_messages,
    tenant_messages,
)
from tests.library.models import Untracked
from tests.settings import database_cache


@pytest.mark.parametrize(
    ("given", "number"),
    [
        (["airports"], "E006"),
        ({"TRAK": ["airports"]}, "E007"),
        ({"TIMEOUT": "5"}, "E008"),
        ({"TIMEOUT": float("nan")}, "E008"),
        ({"LATE_COMMIT_SECONDS": 0}, "E008"),
        ({"LONGEST_TIMEOUT": None}, "E008"),
        ({"LEASE_SECONDS": True}, "E008"),
        ({"FRESHNESS": -1}, "E048"),
        ({"FRESHNESS": "soon"}, "E048"),
        ({"FRESHNESS": float("nan")}, "E048"),
        ({"FRESHNESS": 500}, "W060"),
        ({"ALIAS": "nowhere"}, "E009"),
        ({"ALIAS": ["default"]}, "E009"),
        ({"TRACK": "airports"}, "E010"),
        ({"TRACK": ["airprts"]}, "E010"),
        ({"TRACK": ["airports.Airprt"]}, "E010"),
        ({"TRACK": [None]}, "E010"),
        ({"TASK_QUEUE": ["celery"]}, "E016"),
    ],
)
def test_an_invalid_setting_is_reported_with_a_hint(
    settings: Settings, given: Any, number: str
) -> None:
    settings.CACHELAYERS = given

    [message] = check_package_settings(None)

    assert message.id == f"cachelayers.{number}"
    assert message.msg.startswith("CACHELAYERS")
    assert message.hint


@pytest.mark.parametrize(
    ("name", "given", "cure"),
    [
        ("CACHELAYER", {"TIMEOUT": 60}, "Rename it to CACHELAYERS"),
        ("CACHE_LAYERS", {"TIMEOUT": 60}, "Rename it to CACHELAYERS"),
        ("CACHELAYERS_TIMOUT", 60, "Set CACHELAYERS['TIMEOUT']"),
        ("CACHE_LAYERS_TRACK", ["airports"], "Set CACHELAYERS['TRACK']"),
        # A list of aliases, the value of a key that is set, and another package's name.
        ("CACHE_LAYERS", ["memory", "database"], None),
        ("CACHELAYERS_ALIAS", "default", None),
        ("CHANNEL_LAYERS", {"default": {}}, None),
    ],
)
def test_a_misspelt_setting_is_reported(
    settings: Settings, name: str, given: Any, cure: str | None
) -> None:
    settings.CACHELAYERS = {"ALIAS": "default"}
    setattr(settings, name, given)

    found = check_package_settings(None)

    assert [message.id for message in found] == ["cachelayers.E046"] * bool(cure)
    assert all(str(message.hint).startswith(str(cure)) for message in found)
    assert all(name in message.msg for message in found)


def test_an_untracked_model_that_declares_tags_is_reported(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "declaring_models", lambda: [Untracked])
    settings.CACHELAYERS = {"TRACK": ["airports"]}

    [message] = check_declared_tags(None)

    assert message.id == "cachelayers.E011"
    assert message.hint == "Add 'library.Untracked' to CACHELAYERS['TRACK']."


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"LOCATION": ["default"]}, "LOCATION is \"['default']\", which is not in DATABASES"),
        ({"KEY_PREFIX": None}, "KEY_PREFIX is None"),
        ({"VERSION": "two"}, "VERSION is 'two'"),
        ({"KEY_FUNCTION": "no.such.function"}, "KEY_FUNCTION is 'no.such.function'"),
        ({"KEY_FUNCTION": 7}, "KEY_FUNCTION is 7"),
    ],
)
def test_a_cache_that_cannot_be_created_is_reported_once(
    settings: Settings, wrong: dict[str, Any], words: str
) -> None:
    settings.CACHES = {"default": {**database_cache("default"), **wrong}}

    [error] = [message for message in check_caches(None) if message.is_serious()]

    assert error.msg.startswith(f"CACHES['default'] {words}")
    assert error.hint


def test_an_sqlite_that_is_too_old_is_reported(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "OLDEST_SQLITE", (99, 0, 0))
    settings.CACHES = {"default": database_cache("default")}

    [error] = [message for message in check_caches(None) if message.is_serious()]

    assert error.id == "cachelayers.E005"


def test_a_database_of_another_vendor_is_reported(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(connections["default"]), "vendor", "oracle")
    settings.CACHES = {"default": database_cache("default")}

    [error] = [message for message in check_caches(None) if message.is_serious()]

    assert error.id == "cachelayers.E002"
    assert "'oracle'" in error.msg


def test_a_table_whose_entries_a_failed_request_undoes_is_reported(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CACHES = {"default": database_cache("default")}
    monkeypatch.setattr(type(connections["default"]), "vendor", "postgresql")
    assert [message.id for message in check_caches(None)] == []

    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    [warning] = check_caches(None)

    assert warning.id == "cachelayers.W059"
    assert "CACHES['default']" in warning.msg


def test_a_log_for_each_tenant_is_reported(settings: Settings) -> None:
    settings.TENANT_APPS = ["cachelayers.apps.CacheLayersConfig"]

    [message] = tenant_messages()

    assert message.id == "cachelayers.W027"
    assert "SHARED_APPS" in str(message.hint)


def test_a_command_that_another_app_replaces_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """django-extensions has a clear_cache, too; the app that stands first wins."""
    before = [*command_messages()]
    found = {**get_commands(), "clear_cache": "django_extensions"}
    monkeypatch.setattr(checks, "get_commands", lambda: found)

    [message] = command_messages()

    assert before == []
    assert message.id == "cachelayers.W052"
    assert "'django_extensions'" in message.msg
