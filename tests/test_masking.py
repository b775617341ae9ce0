"""No password of the settings is shown, wherever it stands in them."""

from __future__ import annotations

import pytest
from pytest_django import Settings

from cachelayers.masking import MASK, shown_location, without_password, without_secrets


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
    ],
)
def test_what_a_client_says_is_shown_without_it(config: object, settings: Settings) -> None:
    settings.CACHES = {"default": {"BACKEND": "x", **config}}  # type: ignore[dict-item]

    assert without_secrets("no access with hunter2") == f"no access with {MASK}"


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
