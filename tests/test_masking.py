"""Passwords of the settings are never shown."""

from __future__ import annotations

import logging

import pytest
from pytest_django import Settings

from cachelayers.backends.database.guard import Report
from cachelayers.backends.layered.circuit_breaker import Breaker
from cachelayers.checks import check_caches
from cachelayers.locations import MASK, without_password
from cachelayers.lookup.policy import report
from cachelayers.utils.text import shown_location, without_secrets
from cachelayers.warming.items import describe_error


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("redis://127.0.0.1:6379/1", "redis://127.0.0.1:6379/1"),
        ("redis://user:hunter2@127.0.0.1:6379/1", "redis://***@127.0.0.1:6379/1"),
        ("redis://:hunter2@[::1]:6379/1", "redis://***@[::1]:6379/1"),
        ("redis://:hun@ter2@host/1", "redis://***@host/1"),
        ("redis://host/1?password=hunter2&db=2", "redis://host/1?password=***&db=2"),
        ("user:hunter2@127.0.0.1:11211", "***@127.0.0.1:11211"),
        ("127.0.0.1:11211", "127.0.0.1:11211"),
        ("/var/tmp/a@b", "/var/tmp/a@b"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("unix:///run/a.sock?password=hunter2&db=1", "unix:///run/a.sock?password=***&db=1"),
        ("unix://user:hunter2@/run/a.sock", "unix://***@/run/a.sock"),
        ("/run/redis.sock?password=hunter2", "/run/redis.sock?password=***"),
        ("redis://a/,redis://:hunter2@b/1", "redis://a/, redis://***@b/1"),
        ("redis://:hunter2@a/;redis://:hunter3@b/", "redis://***@a/, redis://***@b/"),
        ("user:hunter2@a:11211;user:hunter3@b:11211", "***@b:11211"),
        ("redis://:hun/ter2@host/1", "redis://***@host/1"),
        ("redis://:hun#ter2@host/1", "redis://***@host/1"),
        ("redis://:hun?ter2@host/1", "redis://***@host/1"),
        ("redis://:hun,ter2@host/1", "redis://***@host/1"),
        ("redis://:hun://ter2@host/1", "redis://***@host/1"),
        ("redis://host/1?password=hun@ter2", "redis://host/1?password=***"),
        ("redis://[bad:hunter2@host/1", "redis://***@host/1"),
        ("", ""),
    ],
)
def test_an_address_is_shown_without_its_password(location: str, shown: str) -> None:
    assert without_password(location) == shown


def test_every_address_of_several_is(settings: Settings) -> None:
    locations = ["redis://:hunter2@a/", "redis://:hunter3@b/"]
    settings.CACHES = {"default": {"BACKEND": "x", "LOCATION": locations}}

    assert shown_location("default") == "redis://***@a/, redis://***@b/"


@pytest.mark.parametrize(
    "config",
    [
        {"LOCATION": "redis://user:hunter2@host/"},
        {"LOCATION": ["redis://other/", "redis://:hunter2@host/"]},
        {"LOCATION": "redis://host/?password=hunter2"},
        {"LOCATION": "redis://:hunter%32@host/"},
        {"LOCATION": "user:hunter2@host:11211"},
        {"LOCATION": "redis://host/", "OPTIONS": {"PASSWORD": "hunter2"}},
        {"LOCATION": "redis://host/", "OPTIONS": {"POOL": {"auth_token": "hunter2"}}},
        {"LOCATION": "redis://host/", "OPTIONS": {"SERVERS": [{"password": b"hunter2"}]}},
        {"LOCATION": "unix:///run/redis.sock?password=hunter2"},
        {"LOCATION": "redis://other/,redis://:hunter2@host/"},
        {"LOCATION": "redis://:hunter2/and/more@host/"},
    ],
)
def test_a_clients_error_is_shown_without_the_password(config: object, settings: Settings) -> None:
    settings.CACHES = {"default": {"BACKEND": "x", **config}}  # type: ignore[dict-item]

    assert without_secrets("no access with hunter2") == f"no access with {MASK}"


def test_an_address_outside_the_settings_is_shown_without_its_user() -> None:
    assert (
        without_secrets("no broker at amqp://me:hunter2@host/") == "no broker at amqp://***@host/"
    )


@pytest.mark.parametrize(
    "config",
    [
        {"BACKEND": "cachelayers.backends.DatabaseCache"},
        {"BACKEND": "cachelayers.backends.LayeredCache", "OPTIONS": {"LAYERS": ["other", "more"]}},
    ],
)
def test_a_check_shows_a_misplaced_address_without_its_password(
    config: dict[str, object], settings: Settings
) -> None:
    other = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    wrong = {**config, "LOCATION": "redis://user:hunter2@host/"}
    settings.CACHES = {"default": wrong, "other": other, "more": other}

    messages = [f"{message}" for message in check_caches(None)]

    assert any("redis://***@host/" in message for message in messages)
    assert not any("hunter2" in message for message in messages)


def test_a_failing_layers_error_is_logged_and_shown_without_the_password(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CACHES = {"away": {"BACKEND": "x", "LOCATION": "redis://:hunter2@host/"}}
    error = ConnectionError("hunter2 was refused")

    Breaker("away").fail("get", error)
    Report("away", "errors", logging.ERROR).report(str(error))
    report("an alias of this test", "get", error)

    assert len(caplog.messages) == 3
    assert all("*** was refused" in message for message in caplog.messages)
    assert describe_error(error) == "ConnectionError: *** was refused"


def test_the_passwords_of_databases_are_masked_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", "hunter2")

    assert without_secrets("authentication of hunter2 failed") == (
        f"authentication of {MASK} failed"
    )


def test_a_text_without_a_secret_stays_as_it_is(settings: Settings) -> None:
    settings.CACHES = {"default": {"BACKEND": "x", "LOCATION": "redis://:@host/"}}

    assert without_secrets("connection refused") == "connection refused"
