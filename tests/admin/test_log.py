"""The log screen: what was invalidated, when and by whom or what."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.backends.cache import SessionStore
from django.db import connection
from django.test import Client
from django.utils.timezone import localtime

from cachelayers import invalidate
from cachelayers.dashboard import history
from cachelayers.lookup.calls import invalidate_key
from cachelayers.models import Invalidation
from testproject.airports.models import Country
from tests.admin.conftest import SECTION, LogIn, said
from tests.library.models import Author, Card, Essay

URL = f"{SECTION}log/"


def shown(client: Client, **asked: Any) -> list[tuple[str, str, str]]:
    """Return tag, description and cause of each row on a page."""
    rows = client.get(URL, asked).context["rows"]
    return [(row.tag, row.what, author.name if author else row.cause) for row, author in rows]


def test_each_kind_of_row_is_described(boss: Client) -> None:
    author = Author.objects.create(name="Ada")
    Invalidation.objects.all().delete()

    invalidate(author)
    invalidate("homepage", "fragment:card")
    invalidate_key("busiest:FR")
    invalidate(Card)

    found = {tag: what for tag, what, _ in shown(boss)}
    assert found[f"row:library_author:{author.pk}"] == f"author {author.pk}"
    assert found["table:library_author"] == "queries on authors"
    assert found["word:homepage"] == "tag homepage"
    assert found["word:fragment:card"] == "fragment card"
    assert found["key:default:busiest:FR"] == "a key of default"
    assert found["rows:library_card"] == "all rows of cards"


def test_rows_that_share_a_value_are_described(boss: Client) -> None:
    author = Author.objects.create(name="Ada")
    Invalidation.objects.all().delete()
    essay = Essay.objects.create(author=author, slug="a:b")
    invalidate(essay)

    found = {tag: what for tag, what, _ in shown(boss)}
    author_slice = f"slice:library_essay:author_id:{author.pk}"
    assert found[author_slice] == f"rows of library.Essay with author_id = {author.pk}"
    assert found["slice:library_essay:slug:a:b"] == "rows of library.Essay with slug = a:b"
    assert found["slices:library_essay"] == "queries for some rows of essays"
    assert {tag for tag, _, _ in shown(boss, kind="slices")} == {"slices:library_essay"}
    assert author_slice in {tag for tag, _, _ in shown(boss, kind="slice")}


def test_the_newest_row_comes_first_with_its_time(boss: Client) -> None:
    invalidate("first")
    invalidate("second")

    [second, first] = boss.get(URL, {"kind": "word"}).context["rows"]

    assert (second[0].tag, first[0].tag) == ("word:second", "word:first")
    assert first[0].at <= second[0].at
    assert f"{localtime(first[0].at):%Y-%m-%d}" in said(boss.get(URL))


@pytest.mark.parametrize(
    ("kind", "tags"),
    [
        ("word", ["word:fragment:card", "word:homepage"]),
        ("fragment", ["word:fragment:card"]),
        ("key", ["key:default:busiest"]),
        ("rows", ["rows:library_card"]),
        ("table", ["table:library_card"]),
    ],
)
def test_one_kind_can_be_chosen(boss: Client, kind: str, tags: list[str]) -> None:
    Invalidation.objects.all().delete()
    invalidate("homepage", "fragment:card", Card)
    invalidate_key("busiest")

    assert sorted(tag for tag, _, _ in shown(boss, kind=kind)) == tags


def test_it_can_be_searched(boss: Client) -> None:
    invalidate("home page", "100%", "other")

    assert [tag for tag, _, _ in shown(boss, text="HOME")] == ["word:home page"]
    assert [tag for tag, _, _ in shown(boss, text="0%")] == ["word:100%"]
    assert shown(boss, text="nowhere") == []


def test_no_session_is_listed_whose_key_would_log_in_who_reads_it(boss: Client) -> None:
    Invalidation.objects.all().delete()
    session = SessionStore()
    session.save()
    invalidate_key("busiest")
    assert Invalidation.objects.filter(tag__endswith=str(session.session_key)).exists()

    assert [tag for tag, _, _ in shown(boss)] == ["key:default:busiest"]
    assert shown(boss, text=str(session.session_key)) == []


def test_older_rows_are_on_further_pages(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "ROWS_PER_PAGE", 2)
    for number in range(5):
        invalidate(f"word {number}")
    found, url = [], f"{URL}?kind=word"

    while url:
        response = boss.get(url)
        found += [row.tag for row, _ in response.context["rows"]]
        url = URL + response.context["older"] if response.context["older"] else ""

    assert found == [f"word:word {number}" for number in range(4, -1, -1)]


@pytest.mark.parametrize("asked", [{"kind": "nonsense"}, {"before": "x"}, {"database": "nowhere"}])
def test_what_does_not_exist_is_a_form_error(boss: Client, asked: dict[str, str]) -> None:
    response = boss.get(URL, asked)

    assert response.status_code == 200
    assert response.context["form"].errors
    assert response.context["page"] is None


# By whom, or by what


def test_what_the_admin_has_invalidated_names_who_did_it_and_leads_to_the_result(
    boss: Client, log_in: LogIn
) -> None:
    Invalidation.objects.all().delete()
    invalidate("by code")
    sent = {"words": "by hand", "aliases": "default", "confirm": "1"}
    result = boss.post(f"{SECTION}invalidate/", sent)["Location"]

    rows = boss.get(URL).context["rows"]

    authors = {row.tag: author for row, author in rows}
    assert authors["word:by code"] is None
    assert authors["word:by hand"].name == authors["key:default:*"].name == "boss"
    assert authors["word:by hand"].url == result
    assert "boss the admin, on purpose" in said(boss.get(URL))
    assert result in boss.get(URL).content.decode()
    assert result not in log_in("cachelayers.view_invalidation").get(URL).content.decode()


def test_an_edit_in_the_admin_names_the_editor(boss: Client) -> None:
    Country.objects.create(code="FR", name="France")
    Country.objects.create(code="FJ", name="Fiji")
    before = Invalidation.objects.order_by("-id").values_list("id", flat=True)[0]
    boss.post("/admin/airports/country/FR/change/", {"code": "FR", "name": "La France"})

    Country.objects.filter(code="FJ").update(name="Viti")

    rows = boss.get(URL, {"kind": "row"}).context["rows"]
    found = {row.tag: author for row, author in rows if row.id > before}
    editor = found["row:airports_country:FR"]
    assert (editor.name, editor.is_edit) == ("boss", True)
    assert found["row:airports_country:FJ"] is None
    assert "boss an edit in the admin" in said(boss.get(URL))


def test_an_edit_at_another_time_names_nobody(boss: Client) -> None:
    Country.objects.create(code="FR", name="France")
    boss.post("/admin/airports/country/FR/change/", {"code": "FR", "name": "La France"})
    for entry in LogEntry.objects.all():
        LogEntry.objects.filter(pk=entry.pk).update(
            action_time=entry.action_time - timedelta(minutes=1)
        )

    Invalidation.objects.create(tag="word:old", at=int(time.time() * 1000) - 3_600_000)

    assert all(author is None for _, author in boss.get(URL).context["rows"])


def test_a_row_with_a_uuid_is_found_among_the_edits_too(boss: Client) -> None:
    card = Card.objects.create(holder="Ada")
    user = boss.get("/admin/").context["user"]
    LogEntry.objects.create(
        user_id=user.pk,
        content_type_id=content_type_of(Card),
        object_id=str(card.pk),
        object_repr="Ada",
        action_flag=2,
    )

    [(row, author)] = boss.get(URL, {"text": card.pk.hex}).context["rows"]

    assert row.key == card.pk.hex
    assert author.name == "boss"


def content_type_of(model: Any) -> int:
    from django.contrib.contenttypes.models import ContentType

    return ContentType.objects.get_for_model(model).pk


def test_it_says_whether_other_programs_are_seen(boss: Client) -> None:
    author = Author.objects.create(name="Ada")
    tag = f"row:library_author:{author.pk}"
    causes = {tag: cause for tag, _, cause in shown(boss, text=tag)}
    assert causes[tag] == "a write to library_author, by this site or another program"

    with connection.cursor() as cursor:
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        triggers = [(name, sql) for name, sql in cursor.fetchall() if "library_author" in sql]
        for name, _ in triggers:
            cursor.execute(f'DROP TRIGGER "{name}"')
        try:
            causes = {tag: cause for tag, _, cause in shown(boss, text=tag)}
        finally:
            for _, sql in triggers:
                cursor.execute(sql)

    assert causes[tag] == "a write to library_author by this site"


def test_a_tag_is_shown_as_text(boss: Client) -> None:
    evil = "<img src=x onerror=alert(1)>"
    invalidate(evil)

    response = boss.get(URL, {"text": "<img"})

    assert evil not in response.content.decode()
    assert evil in said(response)
