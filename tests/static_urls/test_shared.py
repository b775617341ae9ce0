"""Ids that processes share: warm_cache, clear_cache, a deploy, a cache that fails."""

from __future__ import annotations

import asyncio
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.core.exceptions import SynchronousOnlyOperation
from django.core.management import CommandError, call_command
from pytest_django import Settings

from cachelayers import build_cache_id
from cachelayers.staticfiles import ids
from cachelayers.staticfiles.files import FileOnDisk
from tests.static_urls.conftest import forget, id_of, write

pytestmark = pytest.mark.django_db  # warm_cache records each run

CAR = id_of(b"a car")
DUMMY = {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}


@pytest.fixture
def no_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make reading of any file fail."""
    monkeypatch.setattr(FileOnDisk, "_hash_once", lambda file: pytest.fail("it was hashed"))


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=out, no_color=True)
    return out.getvalue()


def test_a_new_worker_starts_with_every_id_that_was_warmed(
    root: Path, request: pytest.FixtureRequest
) -> None:
    write(root / "my car.jpg", b"another car")

    shown = run("warm_cache", "--static")

    assert "2 warmed, 0 already warm, 0 failed" in shown
    forget()
    request.getfixturevalue("no_hashing")
    assert build_cache_id("img/car.jpg") == CAR
    assert build_cache_id("my car.jpg") == id_of(b"another car")


def test_what_one_worker_has_hashed_the_next_one_knows(
    root: Path, request: pytest.FixtureRequest
) -> None:
    build_cache_id("img/car.jpg")
    forget()
    request.getfixturevalue("no_hashing")

    assert build_cache_id("img/car.jpg") == CAR


@pytest.mark.parametrize(("content", "second"), [(b"another car", 1_000), (b"A CAR", 2_000)])
def test_a_deploy_is_not_served_old_ids(root: Path, content: bytes, second: int) -> None:
    write(root / "img" / "car.jpg", b"a car", second=1_000)
    run("warm_cache", "--static")

    write(root / "img" / "car.jpg", content, second=second)
    forget()

    assert build_cache_id("img/car.jpg") == id_of(content)


def test_files_of_one_size_and_time_are_distinguished_by_name_and_folder(
    root: Path, tmp_path: Path
) -> None:
    write(root / "img" / "car.jpg", b"a car", second=1_000)
    write(root / "img" / "bus.jpg", b"a bus", second=1_000)
    write(tmp_path / "other" / "img" / "car.jpg", b"A CAR", second=1_000)

    found = [build_cache_id("img/car.jpg"), build_cache_id("img/bus.jpg")]

    assert found == [CAR, id_of(b"a bus")]
    assert build_cache_id("img/car.jpg", folder_path=tmp_path / "other") == id_of(b"A CAR")


def test_only_missing_ids_are_hashed_where_that_is_asked_for(root: Path) -> None:
    build_cache_id("img/car.jpg")
    write(root / "img" / "bus.jpg", b"a bus")

    shown = run("warm_cache", "--static", "--only-missing", "-v", "2")

    assert "warmed: static: img/bus.jpg" in shown
    assert "already warm: static: img/car.jpg" in shown


def test_a_dry_run_names_the_files_and_hashes_none(root: Path, no_hashing: None) -> None:
    assert "would warm: static: img/car.jpg" in run("warm_cache", "--static", "--dry-run")


def test_without_the_option_no_static_file_is_warmed(
    root: Path, monkeypatch: pytest.MonkeyPatch, no_hashing: None
) -> None:
    monkeypatch.setattr("cachelayers.warming.registry._warmers", {})

    assert "No warmer is registered." in run("warm_cache")


def test_a_cache_that_keeps_nothing_is_a_failure_of_warming(root: Path, settings: Settings) -> None:
    settings.CACHES = {"default": DUMMY}

    shown = run("warm_cache", "--static")

    assert "failed: static: img/car.jpg: CACHES['default'] did not keep its id" in shown


def test_a_static_root_that_is_not_there_is_a_failure(settings: Settings, tmp_path: Path) -> None:
    settings.STATIC_ROOT = tmp_path / "nowhere"

    assert "failed: static files: FileNotFoundError" in run("warm_cache", "--static")


def test_in_development_the_files_of_the_finders_are_warmed(
    settings: Settings, finder_root: Path, tmp_path: Path
) -> None:
    settings.DEBUG = True
    write(tmp_path / "prefixed" / "van.jpg", b"a van")
    settings.STATICFILES_DIRS = [finder_root, ("more", tmp_path / "prefixed")]

    shown = run("warm_cache", "--static", "--dry-run")

    assert "static: img/car.jpg\n" in shown
    assert "static: more/van.jpg\n" in shown
    assert "static: admin/css/base.css\n" in shown


# clear_cache


def test_cleared_ids_are_hashed_anew_and_other_entries_stay(root: Path) -> None:
    write(root / "img" / "car.jpg", b"a car", second=1_000)
    run("warm_cache", "--static")
    cache.set("country:FR", "France")
    write(root / "img" / "car.jpg", b"A CAR", second=1_000)  # as if nothing had changed
    forget()
    before = build_cache_id("img/car.jpg")

    shown = run("clear_cache", "--static", "--no-input")

    forget()
    assert before == CAR
    assert build_cache_id("img/car.jpg") == id_of(b"A CAR")
    assert cache.get("country:FR") == "France"
    assert "default (LocMemCache): the ids of static files" in shown
    assert "default: cleared" in shown


def test_a_token_that_was_evicted_makes_no_old_id_valid_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root / "img" / "car.jpg", b"a car", second=1_000)
    build_cache_id("img/car.jpg")
    run("clear_cache", "--static", "--no-input")
    write(root / "img" / "bus.jpg", b"a bus")
    build_cache_id("img/bus.jpg")  # creates a new token
    write(root / "img" / "car.jpg", b"A CAR", second=1_000)
    forget()

    assert build_cache_id("img/car.jpg") == id_of(b"A CAR")


def test_a_dry_run_of_clear_cache_forgets_nothing(
    root: Path, request: pytest.FixtureRequest
) -> None:
    build_cache_id("img/car.jpg")
    run("clear_cache", "--static", "--dry-run")
    forget()
    request.getfixturevalue("no_hashing")

    assert build_cache_id("img/car.jpg") == CAR


@pytest.mark.parametrize("other", ["--all", "--cache=default", "--prefix=a", "--expired"])
def test_static_and_another_target_are_refused(other: str) -> None:
    with pytest.raises(CommandError, match="--static cannot be combined with others"):
        run("clear_cache", "--static", other, "--no-input")


def test_the_alias_of_the_settings_is_used(root: Path, settings: Settings) -> None:
    settings.CACHES = {**settings.CACHES, "ids": {**settings.CACHES["default"], "LOCATION": "ids"}}
    settings.CACHELAYERS = {"ALIAS": "ids"}

    assert "1 warmed" in run("warm_cache", "--static")
    assert cache.get(ids.TOKEN_KEY) is None
    assert "ids: cleared" in run("clear_cache", "--static", "--no-input")


# A cache that fails


def count_calls(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> list[str]:
    calls: list[str] = []

    def fail(name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            raise error

        return call

    for name in ("get_many", "set", "add", "get"):
        monkeypatch.setattr(f"django.core.cache.backends.locmem.LocMemCache.{name}", fail(name))
    return calls


def test_a_cache_that_is_down_means_that_files_are_hashed_and_is_not_asked_for_each(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root / "img" / "bus.jpg", b"a bus")
    calls = count_calls(monkeypatch, ConnectionRefusedError("down"))

    assert build_cache_id("img/car.jpg") == CAR
    assert build_cache_id("img/bus.jpg") == id_of(b"a bus")
    assert calls == ["get_many"]


def test_a_cache_that_cannot_be_made_means_that_files_are_hashed(
    root: Path, settings: Settings
) -> None:
    settings.CACHELAYERS = {"ALIAS": "not there"}

    assert build_cache_id("img/car.jpg") == CAR


def test_async_code_hashes_where_the_cache_may_not_be_asked(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_calls(monkeypatch, SynchronousOnlyOperation("not here"))

    async def render() -> str:
        return build_cache_id("img/car.jpg")

    assert asyncio.run(render()) == CAR
    assert not ids.pause.is_on
    assert calls


@pytest.mark.parametrize("nonsense", [7, "x", "f" * 32 + ":" + "0" * 95, b"\0"])
def test_what_the_cache_holds_is_not_believed_blindly(root: Path, nonsense: object) -> None:
    build_cache_id("img/car.jpg")
    for key in list(cache._cache):  # type: ignore[attr-defined]
        cache.set(key.removeprefix(":1:"), nonsense)
    forget()

    assert build_cache_id("img/car.jpg") == CAR
