"""warm_cache: what it warms, its output, and how it ends."""

import logging
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from io import BytesIO, TextIOWrapper
from pathlib import Path
from threading import Barrier, get_ident
from typing import Any

import pytest
from django.core.cache import cache, caches
from pytest_django import Settings

from cachelayers.utils.suggestions import MOST_SHOWN, unknown_name
from cachelayers.warming import Target, warmer
from tests.commands.runs import RunCommand
from tests.commands.small_site.records import Records

pytestmark = pytest.mark.usefixtures("no_warmers", "small_site")


def register(name: str, *things: Any) -> None:
    @warmer(name)
    def some_warmer() -> Iterable[Any]:
        yield from things

    some_warmer.__qualname__ = name  # each is a separate function


def put_one() -> None:
    cache.set("one", 1)


def fail_with(error: BaseException) -> None:
    raise error


# What is warmed


def test_all_warmers_run_when_none_is_named(run: RunCommand, small_site: Records) -> None:
    register("one", "/page/1/")
    register("two", "/page/2/")

    result = run("warm_cache")

    assert small_site.paths == ["/page/1/", "/page/2/"]
    assert "2 warmed, 0 already warm, 0 failed" in result.out


def test_only_the_warmers_that_are_named_run(run: RunCommand, small_site: Records) -> None:
    register("one", "/page/1/")
    register("two", "/page/2/")

    run("warm_cache", "two")

    assert small_site.paths == ["/page/2/"]


def test_an_unknown_warmer_is_an_error_with_similar_names(run: RunCommand) -> None:
    register("country pages", "/page/1/")

    result = run("warm_cache", "contry pages")

    assert result.message == "There is no warmer 'contry pages'. Did you mean 'country pages'?"


def test_a_name_like_no_other_is_answered_with_those_that_exist(run: RunCommand) -> None:
    register("country pages", "/page/1/")

    result = run("warm_cache", "zzz")

    assert result.message == "There is no warmer 'zzz'. There are: 'country pages'."


def test_a_warmer_named_twice_runs_once(run: RunCommand) -> None:
    calls: list[int] = []
    register("one", partial(calls.append, 1))

    run("warm_cache", "one", "one")

    assert calls == [1]


def test_a_target_is_computed_and_stored_under_its_key_in_its_cache(run: RunCommand) -> None:
    register("squares", Target(key="square:3", compute=lambda: 9, using="other"))

    run("warm_cache")

    assert caches["other"].get("square:3") == 9
    assert cache.get("square:3") is None


def test_none_is_a_value_like_any_other(run: RunCommand) -> None:
    register("nothing", Target(key="nothing", compute=lambda: None))

    result = run("warm_cache")

    assert cache.get("nothing", "absent") is None
    assert "1 warmed" in result.out


def test_a_target_expires_after_its_timeout(
    run: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    register("brief", Target(key="brief", compute=lambda: 1, timeout=30))
    run("warm_cache")

    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 31)

    assert cache.get("brief") is None


def test_a_callable_is_called_and_its_result_not_used(run: RunCommand) -> None:
    register("calls", partial(cache.set, "called", "yes"))

    run("warm_cache")

    assert cache.get("called") == "yes"


def test_an_async_callable_is_awaited(run: RunCommand) -> None:
    async def fill() -> None:
        await cache.aset("awaited", "yes")

    register("calls", fill)

    run("warm_cache")

    assert cache.get("awaited") == "yes"


@pytest.mark.parametrize("single", ["/page/1/", put_one])
def test_a_warmer_may_return_one_thing_instead_of_several(
    run: RunCommand, single: str | Callable[[], object]
) -> None:
    @warmer("single")
    def one_thing() -> str | Callable[[], object]:
        return single

    result = run("warm_cache")

    assert "1 warmed, 0 already warm, 0 failed" in result.out


def test_a_page_named_twice_is_rendered_once(run: RunCommand, small_site: Records) -> None:
    register("one", "/page/1/", "http://www.example.com/page/1/#top")
    register("two", "/page/1/", "/países/", "/pa%C3%ADses/")

    run("warm_cache")

    assert small_site.paths == ["/page/1/", "/pa%C3%ADses/"]


def test_without_any_warmer_it_says_how_to_write_one(run: RunCommand) -> None:
    result = run("warm_cache")

    assert "No warmer is registered. Decorate a function with @warmer" in result.out
    assert result.error is None


@pytest.mark.parametrize(
    ("url", "noted"), [("/page/1/", True), ("http://a.example/page/1/", False)]
)
def test_a_path_without_a_host_to_render_it_for_is_noted(
    run: RunCommand, settings: Settings, url: str, noted: bool
) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    register("one", url)

    result = run("warm_cache")

    note = "ALLOWED_HOSTS names no host, so paths are rendered as http://localhost/..."
    assert (note in result.err) is noted


# Failures


def test_a_failure_is_reported_and_the_rest_is_warmed(run: RunCommand) -> None:
    register(
        "mixed",
        partial(fail_with, ValueError("no such country")),
        "/broken/",
        partial(cache.set, "rest", "warm"),
    )

    result = run("warm_cache")

    assert cache.get("rest") == "warm"
    assert "failed: tests.commands.test_warm_cache.fail_with(ValueError('no such country'))" in (
        result.err
    )
    assert "failed: /broken/: answered 500: ValueError: no such country: XX" in result.err
    assert "1 warmed, 0 already warm, 2 failed" in result.out
    assert result.error is None


def test_fail_on_error_ends_with_an_error_when_something_failed(run: RunCommand) -> None:
    register("mixed", "/page/1/", "/missing/")

    result = run("warm_cache", "--fail-on-error")

    assert result.message == "1 could not be warmed."
    assert "1 warmed" in result.out


def test_fail_on_error_is_content_when_nothing_failed(run: RunCommand) -> None:
    register("fine", "/page/1/")

    result = run("warm_cache", "--fail-on-error")

    assert result.error is None


def test_a_function_that_exits_does_not_end_the_run(run: RunCommand) -> None:
    register("mixed", partial(fail_with, SystemExit(3)), "/page/1/")

    result = run("warm_cache")

    assert "1 warmed, 0 already warm, 1 failed" in result.out


def test_the_traceback_of_a_callable_is_shown_at_verbosity_2_only(run: RunCommand) -> None:
    register("bad", partial(fail_with, ValueError("no such country")))

    quiet = run("warm_cache")
    loud = run("warm_cache", verbosity=2)

    assert "Traceback" not in quiet.err
    assert "Traceback" in loud.err
    assert "in fail_with" in loud.err


def test_the_traceback_of_a_view_is_shown_too(run: RunCommand) -> None:
    register("bad", "/broken/")

    result = run("warm_cache", verbosity=2)

    assert "in broken" in result.err


def test_only_the_first_failures_are_shown_at_verbosity_1(run: RunCommand) -> None:
    register("bad", *[f"/missing/{number}/" for number in range(15)])

    quiet = run("warm_cache")
    loud = run("warm_cache", verbosity=2)

    assert quiet.err.count("failed: /missing/") == 10
    assert "... and 5 more failed" in quiet.err
    assert loud.err.count("failed: /missing/") == 15


def test_what_a_warmer_yielded_before_it_raised_is_warmed(
    run: RunCommand, small_site: Records
) -> None:
    @warmer("breaks off")
    def breaks_off() -> Iterable[str]:
        yield "/page/1/"
        raise LookupError("the table is gone")

    register("next", "/page/2/")

    result = run("warm_cache")

    assert small_site.paths == ["/page/1/", "/page/2/"]
    assert "failed: warmer 'breaks off': LookupError: the table is gone" in result.err


@pytest.mark.parametrize(
    ("thing", "reason"),
    [
        (42, "yielded 42, of type int"),
        (None, "yielded None, of type NoneType"),
        (("key", int), "of type tuple"),
        ("", "is empty"),
        ("page/1/", "is neither a path that begins with '/' nor an http or https URL"),
    ],
)
def test_nonsense_from_a_warmer_is_a_failure_and_the_rest_is_warmed(
    run: RunCommand, thing: object, reason: str
) -> None:
    register("odd", thing, "/page/1/")

    result = run("warm_cache")

    assert reason in result.err
    assert "1 warmed, 0 already warm, 1 failed" in result.out


def test_a_warmer_that_returns_none_gets_an_error_that_says_what_to_return(run: RunCommand) -> None:
    @warmer("forgot")
    def forgot() -> Any:
        return None

    result = run("warm_cache")

    assert "failed: warmer 'forgot': returned None; yield callables, URLs or Targets" in result.err


def test_a_cache_that_is_down_is_a_failure_and_not_a_warm_entry(
    run: RunCommand, settings: Settings
) -> None:
    settings.CACHES = {"default": {"BACKEND": "tests.commands.fakes.DownCache"}}
    register("squares", Target(key="square:3", compute=lambda: 9))

    result = run("warm_cache")

    assert "failed: default: square:3: CACHES['default'] did not keep the value" in result.err
    assert "0 warmed" in result.out


def test_a_target_for_an_unknown_cache_is_a_failure(run: RunCommand) -> None:
    register("squares", Target(key="square:3", compute=lambda: 9, using="nowhere"))

    result = run("warm_cache")

    assert "failed: nowhere: square:3: InvalidCacheBackendError" in result.err


def test_a_failing_page_is_logged_as_ever_but_not_on_the_screen(
    run: RunCommand, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    screen = logging.StreamHandler(sys.stderr)
    logger = logging.getLogger("django.request")
    logger.addHandler(screen)
    register("bad", "/broken/")

    try:
        run("warm_cache")
        logger.error("something else")
    finally:
        logger.removeHandler(screen)

    assert "Internal Server Error: /broken/" in caplog.messages
    assert capfd.readouterr().err == "something else\n"


# What is not warmed


def test_only_missing_leaves_a_stored_target_alone(run: RunCommand) -> None:
    cache.set("square:3", "stored before")
    register("squares", Target(key="square:3", compute=lambda: 9))

    result = run("warm_cache", "--only-missing")

    assert cache.get("square:3") == "stored before"
    assert "0 warmed, 1 already warm" in result.out


def test_without_only_missing_a_stored_target_is_computed_anew(run: RunCommand) -> None:
    cache.set("square:3", "stored before")
    register("squares", Target(key="square:3", compute=lambda: 9))

    run("warm_cache")

    assert cache.get("square:3") == 9


def test_a_page_in_djangos_page_cache_counts_as_already_warm(
    run: RunCommand, small_site: Records
) -> None:
    register("kept", "/kept/1/")

    first = run("warm_cache", "--only-missing")
    second = run("warm_cache", "--only-missing")

    assert "1 warmed, 0 already warm" in first.out
    assert "0 warmed, 1 already warm" in second.out
    assert small_site.paths == ["/kept/1/"]


def test_only_missing_still_warms_where_nothing_tells(run: RunCommand) -> None:
    register("unknown", "/page/1/", partial(cache.set, "called", "yes"))

    result = run("warm_cache", "--only-missing")

    assert "2 warmed, 0 already warm" in result.out


def test_a_dry_run_lists_and_renders_nothing(run: RunCommand, small_site: Records) -> None:
    cache.set("square:3", 9)
    register(
        "all kinds",
        "/page/1/",
        Target(key="square:3", compute=lambda: 9),
        Target(key="square:4", compute=lambda: 16),
    )

    result = run("warm_cache", "--dry-run", "--only-missing")

    assert "would warm: /page/1/" in result.out
    assert "already warm: default: square:3" in result.out
    assert "2 would be warmed; nothing was rendered." in result.out
    assert small_site.paths == []
    assert cache.get("square:4") is None


def test_list_shows_name_interval_and_location(run: RunCommand, small_site: Records) -> None:
    @warmer("front page", every=3600)
    def front_page() -> Iterable[str]:
        return ["/"]

    result = run("warm_cache", "--list")

    [line] = result.out.splitlines()
    assert line.startswith("front page  every 3600 s")
    assert f"{__name__}:" in line
    assert small_site.paths == []


def test_list_with_a_source_still_lists_the_warmers(run: RunCommand) -> None:
    register("one", "/page/1/")

    result = run("warm_cache", "--list", "--sitemap=/sitemap.xml")

    assert result.out.startswith("one ")


# --urls


def test_urls_of_a_file_are_warmed_and_its_bad_lines_reported(
    run: RunCommand, small_site: Records, tmp_path: Path
) -> None:
    file = tmp_path / "urls.txt"
    file.write_text(
        "# the front\n\n  /page/1/  \nftp://www.example.com/\nhttps://elsewhere.example/\n/page/2/\n"
    )

    result = run("warm_cache", f"--urls={file}")

    assert small_site.paths == ["/page/1/", "/page/2/"]
    assert f"failed: {file} line 4: ftp://www.example.com/: has the scheme 'ftp'" in result.err
    assert f"failed: {file} line 5: https://elsewhere.example/: is on another host" in result.err
    assert "2 warmed, 0 already warm, 2 failed" in result.out


def test_a_byte_order_mark_before_the_first_url_does_no_harm(
    run: RunCommand, small_site: Records, tmp_path: Path
) -> None:
    file = tmp_path / "urls.txt"
    file.write_text("/page/1/\r\n/page/2/\r\n", encoding="utf-8-sig")

    run("warm_cache", f"--urls={file}")

    assert small_site.paths == ["/page/1/", "/page/2/"]


def test_a_file_that_cannot_be_read_is_an_error(run: RunCommand, tmp_path: Path) -> None:
    result = run("warm_cache", f"--urls={tmp_path / 'absent.txt'}")

    assert "cannot be read" in result.message


def test_a_file_that_is_no_text_is_an_error(run: RunCommand, tmp_path: Path) -> None:
    file = tmp_path / "urls.txt"
    file.write_bytes(b"/page/\xff\xfe/")

    result = run("warm_cache", f"--urls={file}")

    assert "cannot be read" in result.message


def test_a_standard_input_that_is_no_text_is_an_error(
    run: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(b"/page/\xff\xfe/"), encoding="utf-8"))

    result = run("warm_cache", "--urls=-")

    assert "--urls - cannot be read" in result.message


def test_a_name_that_holds_what_was_typed_is_near() -> None:
    message = unknown_name("warmer", "map", ["the large map of all airports", "pages"])

    assert message.endswith("Did you mean 'the large map of all airports'?")


def test_more_names_than_can_be_shown_are_cut() -> None:
    names = [f"warmer {number}" for number in range(MOST_SHOWN + 1)]

    assert unknown_name("warmer", "zzz", names[:-1]).endswith(f"{names[-2]!r}.")
    assert unknown_name("warmer", "zzz", names).endswith(f"{names[-2]!r} ....")


def test_warmers_run_beside_a_file_only_if_they_are_named(
    run: RunCommand, small_site: Records, tmp_path: Path
) -> None:
    register("one", "/page/1/")
    file = tmp_path / "urls.txt"
    file.write_text("/page/2/\n")

    run("warm_cache", f"--urls={file}")
    run("warm_cache", "one", f"--urls={file}")

    assert small_site.paths == ["/page/2/", "/page/1/", "/page/2/"]


# --concurrency


@pytest.mark.django_db(transaction=True)
def test_that_many_items_are_warmed_at_once_and_none_twice(run: RunCommand) -> None:
    meeting = Barrier(4, timeout=30)  # passes only when four threads are there at the same time
    register("meetings", *[partial(meeting.wait) for _ in range(8)])

    result = run("warm_cache", "--concurrency=4")

    assert "8 warmed, 0 already warm, 0 failed" in result.out


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", ["connections", "caches"])
def test_every_thread_closes_its_connections_and_caches(
    run: RunCommand, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    closed_in: set[int] = set()
    monkeypatch.setattr(
        f"cachelayers.warming.run.{kind}.close_all", lambda: closed_in.add(get_ident())
    )
    meeting = Barrier(3, timeout=30)
    register("meetings", *[partial(meeting.wait) for _ in range(3)])

    run("warm_cache", "--concurrency=3")

    assert len(closed_in) == 3
    assert get_ident() not in closed_in


@pytest.mark.django_db(transaction=True)
def test_failures_in_threads_are_reported_like_any_other(run: RunCommand) -> None:
    register("mixed", "/page/1/", "/broken/", partial(fail_with, SystemExit(3)), "/page/2/")

    result = run("warm_cache", "--concurrency=2")

    assert "2 warmed, 0 already warm, 2 failed" in result.out


@pytest.mark.parametrize("number", ["0", "-1", "65", "many", "1.5", "", "9" * 5000])
def test_a_concurrency_out_of_bounds_is_an_error(run: RunCommand, number: str) -> None:
    result = run("warm_cache", f"--concurrency={number}")

    assert "is no number from 1 to 64" in result.message


def test_nothing_to_warm_is_no_error_with_threads(run: RunCommand) -> None:
    register("empty")

    result = run("warm_cache", "--concurrency=4")

    assert "0 warmed, 0 already warm, 0 failed" in result.out


def test_verbosity_0_says_nothing_but_failures(run: RunCommand) -> None:
    register("mixed", "/page/1/", "/missing/")

    result = run("warm_cache", verbosity=0)

    assert result.out == ""
    assert "failed: /missing/" in result.err
