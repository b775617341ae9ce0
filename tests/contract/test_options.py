"""Invalid settings are refused, first by the system checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.checks import CheckMessage, Tags, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from tests.contract.fixtures import MakeCache, add_alias, each_table

# They are checked without a database.
on_one = pytest.mark.parametrize("cache_alias", ["sqlite"], indirect=True)
BAD_OPTIONS: list[tuple[str, Any]] = [
    ("MAX_BYTE", 1000),
    ("max_bytes", 1000),
    ("CULL_FREQUENCY", 3),
    ("MAX_BYTES", "1 GB"),
    ("MAX_BYTES", 0),
    ("MAX_BYTES", -1),
    ("MAX_BYTES", 1.5),
    ("MAX_BYTES", True),
    ("MAX_ENTRIES", "many"),
    ("MAX_ENTRIES", 0),
    ("MAX_ENTRIES", -5),
    ("COMPRESSION", "gzip"),
    ("COMPRESSION", True),
    ("COMPRESSION", 1),
    ("COMPRESSION_MIN_BYTES", -1),
    ("COMPRESSION_MIN_BYTES", None),
    ("COMPRESSION_MIN_BYTES", "1"),
    ("SERIALIZER", "yaml"),
    ("SERIALIZER", None),
    ("SERIALIZER", 7),
    ("SERIALIZER", "no.such.module"),
    ("SERIALIZER", "tests.contract.values.Point"),
    ("SERIALIZER", "tests.contract.test_options.not_there"),
    ("SIGNED", "yes"),
    ("SIGNED", 1),
    ("UNLOGGED", "yes"),
    ("BUSY_SECONDS", 0),
    ("BUSY_SECONDS", -1),
    ("BUSY_SECONDS", "1"),
    ("BUSY_SECONDS", None),
    ("BUSY_SECONDS", float("nan")),
    ("BUSY_SECONDS", 3600),
]

GOOD_OPTIONS: list[tuple[str, Any]] = [
    ("MAX_BYTES", 2**30),
    ("MAX_BYTES", None),
    ("MAX_ENTRIES", 1000),
    ("MAX_ENTRIES", None),
    ("COMPRESSION", "zlib"),
    ("COMPRESSION", "zstd"),
    ("COMPRESSION", None),
    ("COMPRESSION_MIN_BYTES", 0),
    ("SERIALIZER", "json"),
    ("SERIALIZER", "pickle"),
    ("SIGNED", True),
    ("BUSY_SECONDS", 0.2),
    ("BUSY_SECONDS", 5),
]


def with_alias(cache_alias: str, options: Mapping[str, object], **params: object) -> Any:
    configured = add_alias(settings.CACHES, cache_alias, "tried", options, params)
    return override_settings(CACHES=configured)


def errors_of(place: str) -> list[CheckMessage]:
    return [
        message
        for message in run_checks(tags=[Tags.caches])
        if str(message.id).startswith("cachelayers.E") and place in message.msg
    ]


@on_one
@pytest.mark.parametrize(("name", "value"), BAD_OPTIONS, ids=map(repr, BAD_OPTIONS))
def test_an_invalid_option_is_refused_with_its_path_and_value(
    cache: BaseCache, cache_alias: str, name: str, value: object
) -> None:
    with with_alias(cache_alias, {name: value}), pytest.raises(ImproperlyConfigured) as caught:
        caches["tried"].get("answer")

    assert name in str(caught.value)
    assert "'tried'" in str(caught.value)
    if name in {"MAX_BYTES", "SERIALIZER", "COMPRESSION", "SIGNED", "BUSY_SECONDS"}:
        assert repr(value) in str(caught.value)


@on_one
@pytest.mark.parametrize(("name", "value"), BAD_OPTIONS, ids=map(repr, BAD_OPTIONS))
def test_a_bad_option_is_one_error_of_the_system_checks(
    cache: BaseCache, cache_alias: str, name: str, value: object
) -> None:
    with with_alias(cache_alias, {name: value}):
        errors = errors_of("'tried'")

    assert len(errors) == 1
    assert name in errors[0].msg
    assert errors[0].hint


@each_table
@pytest.mark.parametrize(("name", "value"), GOOD_OPTIONS, ids=map(repr, GOOD_OPTIONS))
def test_a_good_option_is_taken(make_cache: MakeCache, name: str, value: object) -> None:
    cache = make_cache("taken", options={name: value})

    cache.set("answer", [42])

    assert cache.get("answer") == [42]
    assert errors_of("'taken'") == []


@pytest.mark.parametrize(
    "params", [{"TIMEOUT": "soon"}, {"OPTIONS ": {}}, {"LOCATIONS": "default"}], ids=repr
)
def test_a_bad_setting_beside_the_options_is_refused(
    cache: BaseCache, cache_alias: str, params: dict[str, object]
) -> None:
    (name,) = params
    with with_alias(cache_alias, {}, **params):
        errors = errors_of("'tried'")
        with pytest.raises(ImproperlyConfigured) as caught:
            caches["tried"].get("answer")

    assert len(errors) == 1
    assert name in errors[0].msg
    assert name in str(caught.value)


def test_a_location_that_is_no_database_is_refused(cache: BaseCache, cache_alias: str) -> None:
    with with_alias(cache_alias, {}, LOCATION="nowhere"):
        errors = errors_of("'tried'")
        with pytest.raises(ImproperlyConfigured) as caught:
            caches["tried"].get("answer")

    assert len(errors) == 1
    for text in (errors[0].msg, str(caught.value)):
        assert "'nowhere'" in text
        assert "DATABASES" in text


def test_the_caches_of_this_project_pass_the_checks(cache: BaseCache, cache_alias: str) -> None:
    assert errors_of(f"'{cache_alias}'") == []
