"""For a missing file there is a marker and a log message; never a crash or a blocked request."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from cachelayers import build_cache_id
from cachelayers.exceptions import CacheLayersError, StaticFileError
from cachelayers.staticfiles.files import FileOnDisk
from cachelayers.utils import rate_limit
from tests.static_urls.conftest import Call, id_of, write

pytestmark = pytest.mark.usefixtures("root")

INVALID = [
    "../secret.txt",
    "img/../../secret.txt",
    "/static/../secret.txt",
    "/static/%2e%2e/secret.txt",
    "%2e%2e/secret.txt",
    "..%2fsecret.txt",
    "/etc/passwd",
    "/static//etc/passwd",
    "/static",
    "img/car.jpg\0.png",
    "img/car.jpg%00",
    "img\\car.jpg",
    "..\\secret.txt",
    "img%5ccar.jpg",
    "\ud800.jpg",
]
CASES = [
    *((path, "ERROR_INVALID_PATH") for path in INVALID),
    *((path, "ERROR_NO_FILE_PROVIDED") for path in (None, "", "  \t", "?x=1")),
    *((path, "ERROR_MISSING_FILE") for path in ("img/bus.jpg", "img/car.jpg/", "img/car.jpg/x")),
    ("x" * 5000, "ERROR_MISSING_FILE"),
    *((path, "ERROR_IS_DIRECTORY") for path in ("img", "img/", ".", "/static/", "/static/img/")),
]


@pytest.fixture(autouse=True)
def secret(tmp_path: Path) -> None:
    write(tmp_path / "secret.txt", b"a secret")


@pytest.mark.parametrize(("path", "marker"), CASES)
def test_what_is_no_file_is_a_marker_in_the_url_and_one_line_in_the_log(
    call: Call, path: object, marker: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = call("hashed_static", path)

    assert url.startswith("/static/")
    assert "/../" not in url
    assert f"cache_id={marker}" in url
    [record] = caplog.records
    assert record.name == "cachelayers.hashing"
    assert marker in record.getMessage()


def test_the_id_is_the_marker_and_there_is_no_integrity(call: Call) -> None:
    for path, marker in CASES:
        assert call("cache_id", path) == marker
        assert call("static_integrity", path) == ""


@pytest.mark.parametrize("name", ["hashed_static", "cache_id", "static_integrity"])
def test_strict_settings_raise(call: Call, settings: Settings, name: str) -> None:
    settings.CACHELAYERS = {"STRICT": True}

    for path, marker in CASES:
        with pytest.raises(StaticFileError) as raised:
            call(name, path)

        assert raised.value.marker == marker
        assert isinstance(raised.value, CacheLayersError)


def test_the_folder_itself_is_one_also_before_anything_was_collected(
    call: Call, settings: Settings, tmp_path: Path
) -> None:
    settings.STATIC_ROOT = tmp_path / "nowhere"

    assert call("cache_id", "/static/") == "ERROR_IS_DIRECTORY"


def test_query_and_fragment_stay_beside_a_marker(call: Call) -> None:
    url = call("hashed_static", "img/bus.jpg?x=1#icon")

    assert url == "/static/img/bus.jpg?x=1&cache_id=ERROR_MISSING_FILE#icon"


def test_the_id_of_somebody_elses_url_is_a_marker(call: Call) -> None:
    assert call("cache_id", "https://elsewhere.example/car.jpg") == "ERROR_INVALID_PATH"


# Files that cannot be read


@pytest.fixture(params=["fifo", "socket", "device"])
def special(request: pytest.FixtureRequest, root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of something that is neither file nor folder, and must not be opened."""
    if request.param == "fifo":
        os.mkfifo(root / "special")
    elif request.param == "device":
        (root / "special").symlink_to("/dev/zero")
    else:
        monkeypatch.chdir(root)  # a socket's path must be short
        with socket.socket(socket.AF_UNIX) as end:
            end.bind("special")
    really_open = os.open

    def watch(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith("special"):
            pytest.fail("it was opened")  # not an Exception: those become markers
        return really_open(path, *arguments, **options)

    monkeypatch.setattr(os, "open", watch)
    return "special"


def test_what_is_no_regular_file_is_never_opened(call: Call, special: str) -> None:
    assert call("cache_id", special) == "ERROR_UNREADABLE"


def test_what_becomes_special_between_a_look_and_the_hashing_is_not_opened(
    root: Path, special: str
) -> None:
    with pytest.raises(StaticFileError):
        FileOnDisk(special, str(root / special)).hash()


def test_a_fifo_that_takes_the_files_place_in_the_last_moment_does_not_block(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_open = os.open

    def replace_and_open(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith("car.jpg"):
            Path(path).unlink()
            os.mkfifo(path)
        return really_open(path, *arguments, **options)

    monkeypatch.setattr(os, "open", replace_and_open)

    assert build_cache_id("img/car.jpg") == "ERROR_UNREADABLE"


def refuse(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    really = getattr(os, name)

    def refused(path: Any, *arguments: Any, **options: Any) -> Any:
        if str(path).endswith("car.jpg"):
            raise PermissionError(13, "Permission denied", str(path))
        return really(path, *arguments, **options)

    monkeypatch.setattr(os, name, refused)


@pytest.mark.parametrize("function", ["open", "stat", "lstat"])
def test_a_file_without_permission_is_unreadable(
    call: Call, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    with monkeypatch.context() as patch:
        refuse(patch, function)
        if function == "lstat":
            refuse(patch, "stat")

        assert call("cache_id", "img/car.jpg") == "ERROR_UNREADABLE"


def test_markers_are_not_remembered(call: Call, root: Path) -> None:
    assert call("cache_id", "img/bus.jpg") == "ERROR_MISSING_FILE"

    write(root / "img" / "bus.jpg", b"a bus")

    assert call("cache_id", "img/bus.jpg") == id_of(b"a bus")


# Links


def test_links_are_followed_out_of_the_root_as_collectstatic_makes_them(
    call: Call, root: Path, tmp_path: Path
) -> None:
    write(tmp_path / "app" / "static" / "bus.jpg", b"a bus")
    (root / "bus.jpg").symlink_to(tmp_path / "app" / "static" / "bus.jpg")
    (root / "app").symlink_to(tmp_path / "app" / "static")

    assert call("cache_id", "bus.jpg") == call("cache_id", "app/bus.jpg") == id_of(b"a bus")


def test_a_link_to_nowhere_and_a_circle_of_links_are_markers(call: Call, root: Path) -> None:
    (root / "nowhere").symlink_to("not-there")
    (root / "circle").symlink_to("circle")

    assert call("cache_id", "nowhere") == "ERROR_MISSING_FILE"
    assert call("cache_id", "circle") == "ERROR_UNREADABLE"


# The log


def test_production_logs_a_name_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for _ in range(3):
        build_cache_id("img/bus.jpg")
    build_cache_id("img/train.jpg")
    assert len(caplog.messages) == 2

    now += 61
    build_cache_id("img/bus.jpg")

    assert len(caplog.messages) == 3


def test_dev_mode_logs_every_time(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        build_cache_id("img/bus.jpg", dev_mode=True)

    assert len(caplog.messages) == 3


def test_what_was_reported_is_remembered_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "MOST_REPORTED", 10)
    reports = rate_limit.RateLimit()

    due = [reports.is_due(number) for number in range(50)]

    assert all(due)
    assert len(reports._next_at) == 10
