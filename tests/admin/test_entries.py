"""The entries screen finds entries by their keys, and unpickles nothing."""

from __future__ import annotations

import json
import pickle
import sys
from types import ModuleType
from typing import Any

import pytest
from django.contrib.sessions.backends.cache import SessionStore
from django.core.cache import cache, caches
from django.test import Client
from django.utils.safestring import mark_safe
from pytest_django import Settings

from cachelayers import recall, unit_of_work
from cachelayers.clearing.names import goes_into_sessions
from cachelayers.dashboard import entries
from cachelayers.entries.envelope import Envelope, pack_envelope
from tests.admin.conftest import SECTION, LogIn, entry_url, said
from tests.library.models import Author, Untracked
from tests.settings import database_cache

URL = f"{SECTION}entries/"

ran: list[str] = []


def run(text: str) -> None:
    ran.append(text)


class Evil:
    """Does something when it is unpickled."""

    def __reduce__(self) -> Any:
        return run, ("unpickled",)


def sealed(value: object, fresh_until: Any, dead_until: Any, made: list[Any]) -> list[Any]:
    """Return an envelope as anyone may have written it who can write to the table."""
    stored = pack_envelope(Envelope(value, fresh_until, dead_until, []))
    stored[stored.index([])] = made
    return stored


def listed(client: Client, alias: str, text: str = "", **asked: str) -> list[str]:
    response = client.get(URL, {"alias": alias, "text": text, **asked})
    return [entry.name for entry, *_ in response.context["rows"]]


def recalled(tags: list[str]) -> Author:
    """Store a value with a row and tags as dependencies."""
    author = Author.objects.create(name="Ada")
    with unit_of_work():
        recall("busiest", lambda: {"names": [Author.objects.get(pk=author.pk).name]}, tags=tags)
    return author


# Search


@pytest.mark.django_db(transaction=True)
def test_entries_are_found_by_the_row_and_the_tag_that_they_are_made_from(boss: Client) -> None:
    author = recalled(["homepage"])
    other = Author.objects.create(name="Bob")
    caches["table"].set("plain", 1)
    row = {"row": f"library.Author {author.pk}"}

    for alias in ("table", "memory"):
        assert len(listed(boss, alias, **row)) == 1
        assert len(listed(boss, alias, tag="homepage")) == 1
        assert len(listed(boss, alias, tag="table:library_author")) <= 1
        assert listed(boss, alias, row=f"library.Author {other.pk}") == []
        assert listed(boss, alias, tag="nothing") == []
    unknown = boss.get(URL, {"alias": "table", "row": "library.Author 999999"})
    assert "There is no library.Author" in unknown.context["form"].errors["row"][0]


@pytest.mark.django_db(transaction=True)
@pytest.mark.redis
@pytest.mark.parametrize(
    "backend", ["django_redis.cache.RedisCache", "django.core.cache.backends.redis.RedisCache"]
)
def test_so_are_those_of_a_layer_in_a_redis(
    boss: Client, settings: Settings, redis_url: str, backend: str
) -> None:
    layered = {
        "BACKEND": "cachelayers.backends.LayeredCache",
        "OPTIONS": {"LAYERS": ["memory", "redis"], "BUS": "redis", "TIME_LIMIT": 10},
    }
    redis = {"BACKEND": backend, "LOCATION": f"{redis_url}/0", "KEY_PREFIX": "entries-made-from"}
    settings.CACHES = {**settings.CACHES, "default": layered, "redis": redis}
    author = recalled(["homepage"])
    other = Author.objects.create(name="Bob")
    with unit_of_work():
        recall("bob", lambda: Author.objects.get(pk=other.pk).name, tags=["bob"])
        recall("long", lambda: "x" * 5000)
    caches["default"].set("plain", 1)

    def found(**asked: str) -> list[str]:
        """Return the ends of the names, which begin with the layer's own mark."""
        return [name.rpartition(":1:")[2] for name in listed(boss, "redis", **asked)]

    assert found(row=f"library.Author {author.pk}") == ["busiest"]
    assert found(row=f"library.Author {other.pk}") == ["bob"]
    assert found(tag="homepage") == ["busiest"]
    assert found(tag="nothing") == []
    assert found(tag="homepage", min_bytes="5000") == []
    assert found(min_bytes="5000") == ["long"]
    assert found(text="long", tag="homepage") == []
    cache.clear()


@pytest.mark.parametrize(
    "database",
    [
        "default",
        pytest.param("postgres", marks=pytest.mark.django_db(databases=["default", "postgres"])),
        pytest.param("mariadb", marks=pytest.mark.django_db(databases=["default", "mariadb"])),
    ],
)
def test_entries_are_found_by_their_size(boss: Client, settings: Settings, database: str) -> None:
    settings.CACHES = {**settings.CACHES, "table": database_cache(database)}
    cache.clear()
    caches["table"].set_many({"long": "x" * 5000, "short": "x", "number": 7})
    own_bytes = 5000 + len("table\0:1:long")

    for at_least in (5000, own_bytes):
        assert listed(boss, "table", min_bytes=str(at_least)) == [":1:long"]
    assert listed(boss, "table", min_bytes=str(own_bytes + 200)) == []
    assert len(listed(boss, "table", min_bytes="1")) >= 3
    assert listed(boss, "table", "short", min_bytes="5000") == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("alias", ["table", "memory"])
def test_a_found_entry_can_be_invalidated(boss: Client, log_in: LogIn, alias: str) -> None:
    author = recalled(["homepage"])
    asked = {"alias": alias, "row": f"library.Author {author.pk}"}

    response = boss.get(URL, asked)
    [(_, _, url)] = response.context["rows"]
    reader = log_in("cachelayers.view_entry").get(URL, asked)

    assert url == "/admin/cachelayers/invalidate/?aliases=default&key_prefix=busiest"
    assert "What this will touch" in boss.get(url).content.decode()
    assert f"rows=library.Author+{author.pk}" in response.context["invalidate_all"]
    assert "Invalidate this" not in said(reader)
    assert not reader.context["invalidate_all"]
    done = boss.post(
        "/admin/cachelayers/invalidate/", {"rows": asked["row"], "confirm": "1"}, follow=True
    )
    assert "1 entry in the tables and in the memory of this process was made from it." in said(done)


def test_entries_are_found_by_any_part_of_their_key(boss: Client) -> None:
    caches["table"].set_many({"country:FR": 1, "country:FJ": 2, "airport:CDG": 3})

    assert sorted(listed(boss, "table", "try:F")) == [":1:country:FJ", ":1:country:FR"]
    assert listed(boss, "table", "CDG") == [":1:airport:CDG"]
    assert listed(boss, "table", "table") == []
    assert listed(boss, "table", "%") == []
    assert "There is no such entry." in said(boss.get(URL, {"alias": "table", "text": "none"}))


def test_those_of_other_caches_in_the_same_table_are_not_listed(
    boss: Client, settings: Settings
) -> None:
    settings.CACHES = {**settings.CACHES, "pages": database_cache("default")}
    caches["pages"].set("theirs", 1)
    caches["table"].set("ours", 1)

    assert listed(boss, "table", "ours") == [":1:ours"]
    assert listed(boss, "table", "theirs") == []
    row = boss.get(URL, {"alias": "pages", "text": "theirs"}).context["rows"][0][0]
    gone = boss.get(URL, {"alias": "table", "entry": row.reference})
    assert "This entry is gone." in said(gone)


@pytest.mark.parametrize("alias", ["table", "memory"])
def test_many_entries_are_on_several_pages(
    boss: Client, monkeypatch: pytest.MonkeyPatch, alias: str
) -> None:
    monkeypatch.setattr(entries, "PER_PAGE", 2)
    caches[alias].set_many({f"key{number}": number for number in range(5)})
    found, url = [], f"{URL}?alias={alias}&text=key"

    while url:
        response = boss.get(url)
        found += [entry.name for entry, *_ in response.context["rows"]]
        url = URL + response.context["more"] if response.context["more"] else ""

    assert sorted(found) == [f":1:key{number}" for number in range(5)]


@pytest.mark.django_db(transaction=True)
def test_the_entries_of_a_layered_cache_are_found_in_its_layers(boss: Client) -> None:
    recalled(["homepage"])

    [in_table], [in_memory] = listed(boss, "table", "busiest"), listed(boss, "memory", "busiest")

    assert in_table.startswith(":1:~default:")
    assert in_memory.endswith(":1:busiest")
    choices = boss.get(URL).context["form"]["alias"].field.widget.choices
    assert [alias for alias, _ in choices] == ["memory", "table"]


def test_a_cache_without_a_list_of_its_keys_says_so(boss: Client, settings: Settings) -> None:
    local = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    settings.CACHES = {**settings.CACHES, "local": local}

    assert "The entries of local cannot be listed" in said(boss.get(URL, {"alias": "local"}))


def test_an_unknown_cache_is_a_form_error_with_similar_names(boss: Client) -> None:
    response = boss.get(URL, {"alias": "tabel"})

    [error] = response.context["form"].errors["alias"]
    assert error == "There is no alias in CACHES 'tabel'. Did you mean 'table'?"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("alias", ["table", "memory"])
def test_no_session_is_shown_whose_key_would_log_in_who_reads_it(boss: Client, alias: str) -> None:
    session = SessionStore()
    session["user"] = "hunter2"
    session.save()
    cache.get(f"{session.cache_key_prefix}{session.session_key}")  # into memory
    references = references_of(alias)
    assert any(str(session.session_key) in name for name in references.values())

    assert not any(str(session.session_key) in name for name in listed(boss, alias))
    for reference in references:
        assert "hunter2" not in boss.get(URL, {"alias": alias, "entry": reference}).content.decode()


def test_the_keys_of_an_engine_of_the_projects_own_are_known_too(
    boss: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SessionStore:
        cache_key_prefix = "logged-in:"

    engine = ModuleType("project.sessions")
    monkeypatch.setattr(engine, "SessionStore", SessionStore, raising=False)
    monkeypatch.setitem(sys.modules, "project.sessions", engine)
    caches["table"].set_many({"logged-in:abc123": 1, "logged": 2})

    settings.SESSION_ENGINE = "project.sessions"

    assert (
        entries.entry_store_of("table").search(entries.Wanted("logged"), "").entries[0].name
        == ":1:logged"
    )
    assert len(entries.entry_store_of("table").search(entries.Wanted("logged"), "").entries) == 1
    assert goes_into_sessions("logged-in:a")
    assert not goes_into_sessions("logged-in:")
    settings.SESSION_ENGINE = "no.such.engine"
    assert len(entries.entry_store_of("table").search(entries.Wanted("logged"), "").entries) == 2


def references_of(alias: str) -> dict[str, str]:
    """Return the names of a cache's entries by the references that open them."""
    cache: Any = caches[alias]
    if alias == "memory":
        return {name: name for name in cache.store.records}
    rows = cache.search_entries("", cache.first_id, 100)
    return {str(row.id): row.key.decode() for row in rows}


@pytest.mark.parametrize(
    "asked",
    [{"entry": "x"}, {"entry": "12"}, {"after": "x"}, {"entry": "9" * 30}, {"after": "9" * 30}],
)
def test_a_made_up_reference_finds_nothing(boss: Client, asked: dict[str, str]) -> None:
    response = boss.get(URL, {"alias": "table", **asked})

    assert response.status_code == 200
    assert "gone" in said(response) or "no such entry" in said(response)


@pytest.mark.redis
def test_a_redis_is_searched_and_looked_into(
    boss: Client, settings: Settings, redis_url: str
) -> None:
    # A prefix of this test's own, because the whole run shares the server.
    configured = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": f"{redis_url}/0",
        "KEY_PREFIX": "entries*screen",
    }
    settings.CACHES = {**settings.CACHES, "redis": configured}
    ran.clear()
    caches["redis"].set_many({"evil": Evil(), "plain": 7, "text": "words"}, 60)

    names = listed(boss, "redis", "l")

    assert sorted(names) == ["entries*screen:1:evil", "entries*screen:1:plain"]
    assert "<tests.admin.test_entries.run ('unpickled',)>" in said(
        boss.get(entry_url("redis", "evil", boss))
    )
    assert "Value 7" in said(boss.get(entry_url("redis", "plain", boss)))
    assert "Value words" in said(boss.get(entry_url("redis", "text", boss)))
    assert ran == []
    caches["redis"].delete_many(["evil", "plain", "text"])


@pytest.mark.redis
def test_of_a_redis_only_the_caches_own_keys_are_shown_and_no_session(
    boss: Client, settings: Settings, redis_url: str
) -> None:
    redis = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"{redis_url}/0"}
    settings.CACHES = {
        **settings.CACHES,
        "redis": {**redis, "KEY_PREFIX": "entries-own"},
        "other": {**redis, "KEY_PREFIX": "entries-other"},
    }
    session = f"{SessionStore.cache_key_prefix}abc123"
    caches["redis"].set_many({session: "hunter2", "plain": 1}, 60)
    caches["other"].set("theirs", "hunter2", 60)

    assert listed(boss, "redis") == ["entries-own:1:plain"]
    for key in (f"entries-own:1:{session}", "entries-other:1:theirs"):
        asked = {"alias": "redis", "entry": key.encode().hex()}
        assert "hunter2" not in boss.get(URL, asked).content.decode()
    caches["redis"].delete_many([session, "plain"])
    caches["other"].delete("theirs")


@pytest.mark.django_db(transaction=True)
@pytest.mark.redis
def test_a_layer_in_a_redis_shows_its_envelopes(
    boss: Client, settings: Settings, redis_url: str
) -> None:
    layered = {
        "BACKEND": "cachelayers.backends.LayeredCache",
        "OPTIONS": {"LAYERS": ["memory", "redis"], "BUS": "redis", "TIME_LIMIT": 10},
    }
    redis = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": f"{redis_url}/0",
        "KEY_PREFIX": "entries-envelopes",
    }
    settings.CACHES = {**settings.CACHES, "default": layered, "redis": redis}
    recalled(["homepage"])

    text = said(boss.get(entry_url("redis", "busiest", boss)))

    assert "word:homepage unchanged" in text
    assert "Value {'names': ['Ada']}" in text
    cache.clear()


# The envelope


@pytest.mark.django_db(transaction=True)
def test_an_envelope_tells_what_it_was_made_of_and_what_has_changed_since(boss: Client) -> None:
    author = recalled(["homepage"])
    url = entry_url("table", "busiest", boss)

    before = said(boss.get(url))
    author.name = "Bob"
    author.save()
    after = said(boss.get(url))

    row = f"row:library_author:{author.pk}"
    for text in ("Stored as pickle", "Fresh until", "Never served after"):
        assert text in before
    assert "Valid yes, nothing that it was made of has changed" in before
    assert f"{row} unchanged" in before
    assert "word:homepage unchanged" in before
    assert "Valid no, it is not served any more" in after
    assert f"{row} changed" in after
    assert "word:homepage unchanged" in after


@pytest.mark.django_db(transaction=True)
def test_an_envelope_names_the_tables_whose_changes_do_not_invalidate_it(boss: Client) -> None:
    with unit_of_work():
        recall("visits", lambda: Untracked.objects.count() + Author.objects.count())

    text = said(boss.get(entry_url("table", "visits", boss)))

    assert "The table library_untracked is not tracked" in text


def test_an_envelope_that_the_log_knows_nothing_of_is_not_valid(boss: Client) -> None:
    made = [["default", "another log", 5, ["word:homepage"]], ["nowhere", "x", 1, ["word:a"]]]
    caches["table"].set("old", sealed("value", None, None, made))

    text = said(boss.get(entry_url("table", "old", boss)))

    assert "Valid no, it is not served any more" in text
    assert "word:homepage not known: the log does not reach so far back" in text
    assert "made of in nowhere, at position 1" in text


def test_times_that_no_calendar_has_break_nothing(boss: Client) -> None:
    caches["table"].set("odd", sealed("value", 1e300, float("nan"), []))
    caches["memory"].set("eternal", 1, None)

    assert "Value value" in said(boss.get(entry_url("table", "odd", boss)))
    assert "Expires never" in said(boss.get(entry_url("memory", "eternal", boss)))


# The value


VALUES = [
    (1204, "1204"),
    ("<b>text</b>", "<b>text</b>"),
    (b"bytes", "b'bytes'"),
    ([1, ("a", None), {"k": True}], "[1, ('a', None), {'k': True}]"),
    (mark_safe("<p>safe</p>"), "<p>safe</p>"),
    (frozenset({1}), "frozenset(1)"),
]


@pytest.mark.parametrize("alias", ["table", "memory"])
@pytest.mark.parametrize(("value", "text"), VALUES)
def test_values_of_every_kind_are_shown_as_text(
    boss: Client, alias: str, value: object, text: str
) -> None:
    caches[alias].set("kind", value)

    response = boss.get(entry_url(alias, "kind", boss))

    assert f"Value {text}" in said(response)
    assert "<b>text" not in response.content.decode()
    assert "<p>safe" not in response.content.decode()


@pytest.mark.parametrize(
    "options", [{"COMPRESSION": "zlib"}, {"SIGNED": True}, {"SERIALIZER": "json"}]
)
def test_however_it_is_packed(boss: Client, settings: Settings, options: dict[str, Any]) -> None:
    packed = {**database_cache("default"), "OPTIONS": options}
    settings.CACHES = {**settings.CACHES, "packed": packed}
    caches["packed"].set("kind", ["long enough " * 200])
    caches["packed"].set("number", 5)

    assert "Value ['long enough long enough" in said(boss.get(entry_url("packed", "kind", boss)))
    assert "Value 5" in said(boss.get(entry_url("packed", "number", boss)))


def test_a_signature_that_does_not_match_is_reported(boss: Client, settings: Settings) -> None:
    signed = {**database_cache("default"), "OPTIONS": {"SIGNED": True}}
    settings.CACHES = {**settings.CACHES, "signed": signed}
    own, settings.SECRET_KEY = settings.SECRET_KEY, "one that was given up meanwhile"
    caches["signed"].set("kind", "value")
    settings.SECRET_KEY = own

    text = said(boss.get(entry_url("signed", "kind", boss)))

    assert "Cannot be read its signature does not match" in text


def test_a_value_is_shown_with_a_permission_of_its_own_only(log_in: LogIn) -> None:
    caches["table"].set("secret", "hunter2")
    some = log_in("cachelayers.view_entry")
    more = log_in("cachelayers.view_entry", "cachelayers.view_values", name="bob")
    url = entry_url("table", "secret", some)

    without, with_it = some.get(url), more.get(url)

    assert "hunter2" not in without.content.decode()
    assert "You may not view cached values." in said(without)
    assert "Stored as text" in said(without)
    assert "Value hunter2" in said(with_it)


@pytest.mark.parametrize("alias", ["table", "memory"])
def test_looking_at_a_value_runs_none_of_its_code(boss: Client, alias: str) -> None:
    ran.clear()
    caches[alias].set("evil", Evil())

    text = said(boss.get(entry_url(alias, "evil", boss)))

    assert ran == []
    assert "unpickled" in text
    assert caches[alias].get("evil") is None
    assert ran == ["unpickled"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x80\x05", "it is no whole pickle"),
        (pickle.dumps(["cut off"])[:-4], "it is no whole pickle"),
        (json.dumps({"a": [1]}).encode(), "{'a': [1]}"),
        (b"\xff\xfe", "b'\\xff\\xfe'"),
    ],
)
def test_what_others_have_put_into_a_row_is_told_and_breaks_nothing(
    boss: Client, data: bytes, text: str
) -> None:
    from cachelayers.models import Entry

    caches["table"].set("broken", ["a pickle"])
    url = entry_url("table", "broken", boss)
    row = Entry.objects.using("default").filter(pk=int(url.rpartition("=")[2]))

    assert row.update(data=data) == 1

    assert text in said(boss.get(url))
