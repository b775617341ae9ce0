"""When a file is hashed, and when a remembered id is used; threads, forks, replacements."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from cachelayers import build_cache_id
from cachelayers.staticfiles import files, ids
from cachelayers.staticfiles.files import Digest, FileOnDisk
from cachelayers.staticfiles.ids import Memo, pause
from tests.static_urls.conftest import forget, id_of, write

THREADS = 8
CAR = id_of(b"a car")


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files that were hashed, in order."""
    names: list[str] = []
    really = FileOnDisk.hash

    def note(file: FileOnDisk) -> Any:
        names.append(file.name)
        return really(file)

    monkeypatch.setattr(FileOnDisk, "hash", note)
    return names


@pytest.fixture
def no_shared_cache(settings: Settings) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}


def advance(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    later = time.monotonic() + seconds
    monkeypatch.setattr(time, "monotonic", lambda: later)


# Production


@pytest.mark.usefixtures("no_shared_cache")
def test_production_hashes_once_and_does_not_check_again(root: Path, hashed: list[str]) -> None:
    build_cache_id("img/car.jpg")
    write(root / "img" / "car.jpg", b"another car", second=1)

    assert build_cache_id("img/car.jpg") == CAR
    assert hashed == ["img/car.jpg"]


@pytest.mark.usefixtures("no_shared_cache")
def test_production_checks_again_after_the_time_that_is_set(
    root: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, hashed: list[str]
) -> None:
    settings.CACHELAYERS = {"STATIC_RECHECK_SECONDS": 60}
    build_cache_id("img/car.jpg")
    write(root / "img" / "car.jpg", b"another car", second=1)
    before = build_cache_id("img/car.jpg")

    advance(monkeypatch, 61)
    after = [build_cache_id("img/car.jpg") for _ in range(2)]

    assert before == CAR
    assert after == [id_of(b"another car")] * 2
    assert len(hashed) == 2


@pytest.mark.usefixtures("no_shared_cache")
def test_a_look_that_finds_no_change_counts_as_one(
    root: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CACHELAYERS = {"STATIC_RECHECK_SECONDS": 60}
    build_cache_id("img/car.jpg")
    advance(monkeypatch, 61)
    build_cache_id("img/car.jpg")
    write(root / "img" / "car.jpg", b"another car", second=1)

    assert build_cache_id("img/car.jpg") == CAR


# Dev mode


def rewrite(path: Path) -> None:
    write(path, b"another car", second=1_000)


def rewrite_with_the_same_size_and_time(path: Path) -> None:
    write(path.with_name("new"), b"A CAR", second=1_000).replace(path)


def rewrite_with_the_same_size(path: Path) -> None:
    write(path, b"A CAR", second=2_000)


@pytest.mark.usefixtures("no_shared_cache")
@pytest.mark.parametrize(
    "change", [rewrite, rewrite_with_the_same_size_and_time, rewrite_with_the_same_size]
)
def test_dev_mode_sees_every_change(root: Path, change: Callable[[Path], None]) -> None:
    path = write(root / "img" / "car.jpg", b"a car", second=1_000)
    before = build_cache_id("img/car.jpg", dev_mode=True)

    change(path)

    assert before == CAR
    assert build_cache_id("img/car.jpg", dev_mode=True) == id_of(path.read_bytes())


@pytest.mark.usefixtures("no_shared_cache")
def test_dev_mode_does_not_hash_what_looks_the_same(root: Path, hashed: list[str]) -> None:
    for _ in range(3):
        build_cache_id("img/car.jpg", dev_mode=True)

    assert hashed == ["img/car.jpg"]


def test_a_file_that_was_touched_keeps_its_id(root: Path) -> None:
    os.utime(root / "img" / "car.jpg", (1, 1))
    before = build_cache_id("img/car.jpg", dev_mode=True)
    os.utime(root / "img" / "car.jpg", (2, 2))

    assert build_cache_id("img/car.jpg", dev_mode=True) == before == CAR


@pytest.mark.parametrize(
    ("debug", "setting", "is_seen"),
    [(True, None, True), (False, None, False), (False, True, True), (True, False, False)],
)
def test_the_setting_decides_and_debug_where_there_is_none(
    root: Path, settings: Settings, debug: bool, setting: bool | None, is_seen: bool
) -> None:
    settings.DEBUG = debug
    settings.CACHELAYERS = {"STATIC_DEV_MODE": setting}
    build_cache_id("img/car.jpg")

    rewrite(root / "img" / "car.jpg")

    assert (build_cache_id("img/car.jpg") != CAR) is is_seen


def test_a_file_that_is_gone_is_missing_in_dev_mode(root: Path) -> None:
    build_cache_id("img/car.jpg", dev_mode=True)
    (root / "img" / "car.jpg").unlink()

    assert build_cache_id("img/car.jpg", dev_mode=True) == "ERROR_MISSING_FILE"


# Reading


def test_a_large_file_is_read_in_chunks(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(files.CHUNK_BYTES * 2 + 17)
    write(root / "large", content)
    lengths: list[int] = []
    really = files.hash_chunks

    def watch(chunks: Any, size: int | None) -> Digest:
        def each() -> Any:
            for chunk in chunks:
                lengths.append(len(chunk))
                yield chunk

        return really(each(), size)

    monkeypatch.setattr(files, "hash_chunks", watch)

    assert build_cache_id("large") == id_of(content)
    assert lengths == [files.CHUNK_BYTES, files.CHUNK_BYTES, 17]


def test_an_empty_file_has_an_id(root: Path) -> None:
    write(root / "empty", b"")

    assert build_cache_id("empty") == id_of(b"")


def disturb(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object], times: int) -> None:
    """Change the file after its content was read, in the first attempts to read it."""
    left = [times]
    really = files.hash_chunks

    def hash_and_change(chunks: Any, size: int | None) -> Digest:
        digest = really(chunks, size)
        if left[0]:
            left[0] -= 1
            change()
        return digest

    monkeypatch.setattr(files, "hash_chunks", hash_and_change)


def test_a_file_that_is_replaced_while_it_is_hashed_is_hashed_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(root / "img" / "car.jpg", b"a car", second=1_000)
    disturb(monkeypatch, lambda: rewrite_with_the_same_size_and_time(path), times=1)

    assert build_cache_id("img/car.jpg") == id_of(b"A CAR")


def test_a_file_that_is_written_to_while_it_is_hashed_is_hashed_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "img" / "car.jpg"
    disturb(monkeypatch, lambda: rewrite(path), times=1)

    assert build_cache_id("img/car.jpg") == id_of(b"another car")


def test_a_file_that_never_rests_is_unreadable(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / "img" / "car.jpg"
    disturb(monkeypatch, lambda: write(path, path.read_bytes() + b"x"), times=100)

    assert build_cache_id("img/car.jpg") == "ERROR_UNREADABLE"


def test_a_file_that_grows_for_ever_is_not_read_for_ever(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = files.hash_chunks

    def growing(chunks: Any, size: int | None) -> Digest:
        def without_end() -> Any:
            for number in range(1000):
                if number > 10:
                    pytest.fail("it is read on and on")  # not an Exception: those become markers
                yield b"x"

        return really(without_end(), size)

    monkeypatch.setattr(files, "hash_chunks", growing)

    assert build_cache_id("img/car.jpg") == "ERROR_UNREADABLE"


# The log


def test_hashing_is_logged_where_that_is_wanted(
    root: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cachelayers.hashing")
    build_cache_id("img/car.jpg")
    silent = list(caplog.messages)

    forget()
    build_cache_id("img/car.jpg", dev_mode=True, log_hash_operations=False)
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    forget()
    build_cache_id("img/car.jpg", log_hash_operations=True)
    settings.CACHELAYERS = {"STATIC_LOG": True}
    build_cache_id("img/car.jpg")
    build_cache_id("img/car.jpg")

    assert silent == []
    assert len(caplog.messages) == 2
    assert all("'img/car.jpg' in " in each and CAR in each for each in caplog.messages)


# Bound, threads, forks


def test_what_was_used_longest_ago_is_forgotten_first() -> None:
    small = Memo(most=3)
    for name in ("a", "b", "c"):
        small.keep(("", name), Digest(name), None)
    small.get(("", "a"))

    small.keep(("", "d"), Digest("d"), None)

    assert len(small) == 3
    assert small.get(("", "b")) is None
    assert small.get(("", "a")) is not None


def test_threads_agree_on_every_id(root: Path) -> None:
    names = [f"file-{number}" for number in range(50)]
    for name in names:
        write(root / name, name.encode())
    all_here = threading.Barrier(THREADS)

    def work(seed: int) -> bool:
        all_here.wait(20)
        return all(
            build_cache_id(name, dev_mode=seed % 2 == 0) == id_of(name.encode())
            for name in names[seed:] + names[:seed]
        )

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(work, range(THREADS)))


def test_a_child_forked_while_others_hash_goes_on(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the shared cache: `caches` uses a lock of asgiref's, which a fork may copy locked.
    monkeypatch.setattr(pause, "until", float("inf"))
    names = [f"file-{number}" for number in range(20)]
    for name in names:
        write(root / name, name.encode())
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            ids.memo.clear()
            for name in names:
                build_cache_id(name)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    try:
        statuses = [fork_and_hash(names) for _ in range(20)]
    finally:
        stop.set()
        for worker in workers:
            worker.join(20)

    assert statuses == [0] * 20


def test_a_child_forked_while_another_thread_holds_the_lock_is_not_blocked(root: Path) -> None:
    build_cache_id("img/car.jpg")
    is_held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with ids.memo._lock:
            is_held.set()
            may_end.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_held.wait(20)
    try:
        status = fork_and_hash(["img/car.jpg"], content=b"a car")
    finally:
        may_end.set()
        thread.join()

    assert status == 0


def fork_and_hash(names: list[str], content: bytes | None = None) -> int:
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # seconds; ends a blocked child too
        try:
            right = all(build_cache_id(name) == id_of(content or name.encode()) for name in names)
            os._exit(0 if right else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
