"""clear_cache by tag and by model, layer by layer, and the other keys in a Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.cache import caches
from django.db import connection
from django.template.loader import render_to_string
from pytest_django import Settings

from cachelayers import cached, invalidate, recall, unit_of_work
from cachelayers.backends.database.raising import RaisingTable
from cachelayers.clearing.plans import aliases_sharing_storage, storage_of
from cachelayers.exceptions import CacheUnavailable
from cachelayers.invalidation import tags
from tests.commands.runs import Run, RunCommand
from tests.commands.test_clear_cache import redis_settings
from tests.environment import server_port
from tests.layered.backends import server_of
from tests.library.models import Author, Book
from tests.settings import database_cache, layered_cache, memory_cache

LOCMEM = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
calls: list[str] = []


@pytest.fixture
def clear(run: RunCommand) -> RunCommand:
    """A function that runs clear_cache without the question."""

    def clear_cache(*arguments: str) -> Run:
        return run("clear_cache", "--no-input", *arguments)

    return clear_cache


@cached(timeout=None, tags=["test home page"])
def home() -> str:
    calls.append("home")
    return "home"


@cached(timeout=None)
def authors() -> int:
    calls.append("authors")
    return Author.objects.count()


def visit() -> None:
    with unit_of_work():
        home()
        authors()


@pytest.fixture
def visited(memory_caches: None, transactional_db: None) -> None:
    """Both are cached."""
    caches["default"].clear()
    calls.clear()
    visit()


# --tag, --model


def test_a_tag_makes_what_has_it_invalid_and_leaves_the_rest(
    clear: RunCommand, visited: None
) -> None:
    result = clear("--tag=test home page")
    visit()

    assert calls == ["home", "authors", "home"]
    assert "tag 'test home page': every entry that has it, in every cache" in result.out
    assert "tag 'test home page': invalidated" in result.out


@pytest.mark.parametrize("label", ["library.Author", "library.author"])
def test_a_model_makes_what_was_made_from_its_table_invalid(
    clear: RunCommand, visited: None, label: str
) -> None:
    result = clear(f"--model={label}")
    visit()

    assert calls == ["home", "authors", "authors"]
    assert "model library.Author: every entry made from table library_author" in result.out
    assert "model library.Author: invalidated" in result.out


def test_tags_and_models_go_together_and_each_once(clear: RunCommand, visited: None) -> None:
    result = clear("--tag=test home page", "--tag=test home page", "--model=library.Author")
    visit()

    assert calls == ["home", "authors", "home", "authors"]
    assert result.out.count("invalidated") == 2


def test_a_dry_run_invalidates_nothing(clear: RunCommand, visited: None) -> None:
    result = clear("--tag=test home page", "--model=library.Author", "--dry-run")
    visit()

    assert calls == ["home", "authors"]
    assert "model library.Author: every entry" in result.out
    assert "invalidated" not in result.out


def test_without_a_terminal_it_does_not_invalidate_unasked(run: RunCommand, visited: None) -> None:
    result = run("clear_cache", "--tag=test home page")
    visit()

    assert "there is no terminal to ask on. Add --no-input." in result.message
    assert calls == ["home", "authors"]


@pytest.mark.parametrize("option", [[], ["--dry-run"]])
def test_an_unknown_tag_is_a_warning_with_similar_names(
    clear: RunCommand,
    visited: None,
    option: list[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # the tags that other tests have invalidated
    monkeypatch.setattr(tags, "_stored_user_tags", set())

    result = clear("--tag=test hom page", "--tag=test home page", *option)
    visit()

    assert result.error is None
    assert "Warning: There is no tag 'test hom page'. Did you mean 'test home page'" in result.out
    assert "--any-tag leaves this warning out" in result.out
    assert calls == ["home", "authors", *([] if option else ["home"])]
    assert not caplog.records


def test_a_tag_that_nobody_knows_is_invalidated_without_a_warning_if_that_is_asked_for(
    clear: RunCommand, visited: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with unit_of_work():
        recall("FR", lambda: 1, timeout=None, tags=["country FR"])
    monkeypatch.setattr(tags, "_stored_user_tags", set())  # as if another process had stored it

    result = clear("--tag=country FR", "--any-tag")

    with unit_of_work():
        assert recall("FR", lambda: 2) == 2
    assert result.error is None
    assert "Warning" not in result.out


@pytest.mark.parametrize("tag", ["new books", "never declared, but invalidated once"])
def test_tags_of_models_and_of_the_log_are_known(
    clear: RunCommand, visited: None, tag: str
) -> None:
    invalidate("never declared, but invalidated once")

    assert clear(f"--tag={tag}").error is None


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--tag=", "--tag: A tag is empty"),
        ("--tag=a\x00b", "has control characters"),
        (f"--tag={'x' * 300}", "Use at most 200"),
        ("--model=library.Autor", "There is no tracked model 'library.Autor'. Did you mean 'lib"),
        ("--model=library", "There is no tracked model 'library'. Did you mean"),
        ("--model=", "There is no tracked model ''. There are: "),
        ("--model=library.Untracked", "library.Untracked is not tracked, so no entry depends"),
        ("--model=auth.User", "Add 'auth.User' to CACHELAYERS['TRACK']; now tracked are: airports"),
    ],
)
def test_what_is_no_tag_or_model_is_an_error(
    clear: RunCommand, visited: None, argument: str, message: str
) -> None:
    result = clear("--tag=test home page", argument)
    visit()

    assert message in result.message
    assert calls == ["home", "authors"]


_renders = count()


def mark_of_render() -> str:
    """Return another text at each call; its code is the same for each variant of a fragment."""
    return f":{next(_renders)};"


@pytest.fixture
def menu(visited: None, settings: Settings, tmp_path: Path) -> Callable[[], str]:
    """Return a page with a fragment whose name is in the site's only template."""
    settings.TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "DIRS": [tmp_path],
            "OPTIONS": {"builtins": ["cachelayers.templatetags.cachelayers"]},
        }
    ]
    (tmp_path / "menu.html").write_text(
        '{% fragment "menu" number %}{{ number }}{{ shown }}{% endfragment %}'
    )

    def page() -> str:
        with unit_of_work():
            return "".join(
                render_to_string("menu.html", {"number": number, "shown": mark_of_render})
                for number in (1, 2)
            )

    return page


def test_a_fragment_is_invalidated_in_every_variant(
    clear: RunCommand, menu: Callable[[], str]
) -> None:
    before = [menu(), menu()]

    result = clear("--fragment=menu")

    assert "fragment 'menu': every variant of it, in every cache" in result.out
    assert before[0] == before[1]
    assert menu() not in before


def test_an_unknown_fragment_is_an_error_with_similar_names(
    clear: RunCommand, menu: Callable[[], str]
) -> None:
    result = clear("--fragment=meny")

    assert "There is no fragment 'meny'. Did you mean 'menu'?" in result.message
    assert "add --any-tag" in result.message


@pytest.mark.django_db(transaction=True)
def test_a_fragment_that_only_the_log_knows_is_known(clear: RunCommand) -> None:
    invalidate("fragment:worked-out")

    assert clear("--fragment=worked-out").error is None


@pytest.mark.django_db(transaction=True)
def test_a_tag_that_only_the_site_s_views_declare_is_known(
    clear: RunCommand, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "late_urls.py").write_text(
        "from cachelayers import cached\nurlpatterns = []\n"
        "@cached(tags=['a late word'])\ndef late(): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings.ROOT_URLCONF = "late_urls"

    assert clear("--tag=a late word").error is None


def test_a_fragment_whose_name_a_template_works_out_can_be_invalidated_all_the_same(
    clear: RunCommand, menu: Callable[[], str]
) -> None:
    assert clear("--fragment=worked out by a template", "--any-tag").error is None


@pytest.mark.parametrize("name", ["", "a\x00b", "x" * 250])
def test_what_is_no_name_of_a_fragment_is_an_error(
    clear: RunCommand, menu: Callable[[], str], name: str
) -> None:
    assert clear(f"--fragment={name}", "--any-tag").error is not None


@pytest.mark.parametrize("other", ["--cache=default", "--all", "--prefix=a", "--expired"])
def test_tags_are_for_every_cache(clear: RunCommand, visited: None, other: str) -> None:
    result = clear("--tag=test home page", other)

    assert result.message.startswith("--tag, --model and --fragment are for every cache")


def test_a_site_whose_views_cannot_be_imported_can_still_invalidate(
    clear: RunCommand, visited: None, settings: Settings
) -> None:
    settings.ROOT_URLCONF = "no.such.module"

    assert clear("--tag=test home page").error is None


def test_a_log_that_cannot_be_written_is_a_failure_and_the_others_are_done(
    clear: RunCommand, visited: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(target: object) -> None:
        if target is Book:
            raise RuntimeError("the disk is full")
        invalidate(target)  # type: ignore[arg-type]

    monkeypatch.setattr("cachelayers.management.commands.clear_cache.invalidate", refuse)

    result = clear("--model=library.Book", "--model=library.Author")
    visit()

    assert "model library.Book: failed: RuntimeError: the disk is full" in result.err
    assert result.message == "Not cleared: 'model library.Book'; the reasons are above."
    assert calls == ["home", "authors", "authors"]


# Layers


@pytest.fixture
def site(settings: Settings, transactional_db: None) -> Iterator[str]:
    """The alias of a LayeredCache over memory, an observed cache and a table."""
    # a circuit breaker of its own, which no other test has opened
    alias = f"site-{uuid4().hex[:8]}"
    settings.CACHES = {
        "default": LOCMEM,
        alias: layered_cache(f"{alias}-memory", f"{alias}-upper", f"{alias}-table"),
        f"{alias}-memory": memory_cache(),
        f"{alias}-upper": {
            "BACKEND": "tests.layered.backends.WatchedCache",
            "LOCATION": f"{alias}-upper",
        },
        f"{alias}-table": database_cache("sqlite_cache"),
    }
    yield alias
    caches[f"{alias}-table"].clear()


def test_each_layer_is_reported(clear: RunCommand, site: str) -> None:
    caches[site].set("a", 1)

    result = clear(f"--cache={site}")

    assert result.out.splitlines()[-4:] == [
        f"{site}: cleared",
        f"  {site}-memory: cleared",
        f"  {site}-upper: reset; its old entries are never read again, and expire",
        f"  {site}-table: cleared",
    ]
    assert caches[site].get("a") is None


def test_a_layer_that_cannot_be_reached_is_reported_and_is_not_read_any_more(
    clear: RunCommand, site: str
) -> None:
    caches[site].set("a", 1)
    server_of(f"{site}-upper").is_down = True

    result = clear(f"--cache={site}")

    assert f"  {site}-upper: not reached; its old entries are not read any more" in result.out
    assert result.error is None
    assert caches[site].get("a") is None


def test_a_part_of_a_layer_that_cannot_be_reached_is_a_failure(
    clear: RunCommand, site: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    searchable = f"{site}-searchable"
    settings.CACHES = {
        **settings.CACHES,
        searchable: layered_cache(f"{site}-memory", f"{site}-table"),
    }
    caches[searchable].set("a", 1)
    monkeypatch.setattr(RaisingTable, "delete_prefix", be_down)

    result = clear(f"--cache={searchable}", "--prefix=a")

    assert f"  {site}-table: not reached; it still has its entries" in result.out
    assert result.message == f"Not cleared: '{searchable}'; the reasons are above."


def be_down(*_arguments: object) -> int:
    raise CacheUnavailable("the database is down")


# Aliases with the same storage


def redis_at(url: str, **options: Any) -> dict[str, Any]:
    return {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": url,
        "OPTIONS": options,
    }


@pytest.mark.parametrize(
    "other",
    [
        redis_at("redis://127.0.0.1:6379/1"),
        redis_at("redis://localhost/1"),
        redis_at("redis://:secret@localhost:6379?db=1"),
        redis_at("redis://localhost", db=1),
        redis_at("rediss://127.0.0.1/1"),
    ],
)
def test_one_redis_database_is_recognized_in_all_forms(
    settings: Settings, other: dict[str, Any]
) -> None:
    settings.CACHES = {"default": redis_at("redis://127.0.0.1:6379/1"), "other": other}

    assert aliases_sharing_storage("default") == ["other"]


@pytest.mark.parametrize(
    "other",
    [
        redis_at("redis://127.0.0.1:6379/2"),
        redis_at("redis://127.0.0.1:6380/1"),
        redis_at("redis://cache.example/1"),
        {**LOCMEM, "LOCATION": "redis"},
    ],
)
def test_another_redis_database_is_other_storage(settings: Settings, other: dict[str, Any]) -> None:
    settings.CACHES = {"default": redis_at("redis://127.0.0.1:6379/1"), "other": other}

    assert aliases_sharing_storage("default") == []


def test_sessions_of_another_alias_in_the_same_storage_are_named(
    clear: RunCommand, settings: Settings
) -> None:
    settings.CACHES = {
        "default": redis_at("redis://127.0.0.1:1/1"),
        "logins": redis_at("redis://localhost:1/1"),
    }
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    settings.SESSION_CACHE_ALIAS = "logins"

    result = clear("--cache=default", "--dry-run")

    assert (
        "CACHES['logins'] has the same LOCATION and may be emptied with it, the sessions in it too"
        in result.out
    )


@pytest.mark.redis
@pytest.mark.parametrize("backend", ["django_redis", "core"])
def test_what_else_is_in_the_redis_is_counted_and_shown(
    clear: RunCommand, settings: Settings, backend: str
) -> None:
    core = redis_at(f"redis://127.0.0.1:{server_port('redis')}/15")
    default = {**core, "KEY_PREFIX": "pages"}
    if backend == "django_redis":
        default = {**redis_settings(), "LOCATION": core["LOCATION"], "KEY_PREFIX": "pages"}
    settings.CACHES = {
        "default": default,
        "logins": {**core, "KEY_PREFIX": "logins"},
    }
    caches["logins"].clear()
    caches["default"].set_many({"a": 1, "b": 2})
    before = clear("--cache=default", "--dry-run")
    caches["logins"].set("django.contrib.sessions.cache123", {})
    caches["logins"].set("other", 1)

    result = clear("--cache=default", "--dry-run")

    assert "that are not its own" not in before.out
    assert "2 keys in it would go that are not its own, such as 'logins:1:other'." in result.out
    assert "cache123" not in result.out  # with this key one is logged in
    assert "1 of its keys are sessions: users may be logged out" in result.out
    assert caches["logins"].get("other") == 1
    caches["logins"].clear()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("redis://localhost", "redis://127.0.0.1:6379/0"),
        ("redis:///1", "redis://localhost/?db=1"),
        (["host:1", "host:2"], ("host:1", "host:2")),
    ],
)
def test_one_storage_may_be_written_in_several_ways(one: Any, other: Any) -> None:
    assert storage_of({"LOCATION": one}) == storage_of({"LOCATION": other})


@pytest.mark.django_db(transaction=True)
def test_before_the_first_migrate_the_tags_of_the_code_are_known(
    clear: RunCommand, visited: None
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE cachelayers_invalidation RENAME TO away")
        try:
            result = clear("--tag=test home page", "--dry-run")
        finally:
            cursor.execute("ALTER TABLE away RENAME TO cachelayers_invalidation")

    assert result.error is None
