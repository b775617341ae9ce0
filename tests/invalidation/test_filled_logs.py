"""A log that bulk writes to one table have filled is reported, with a hint."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command
from pytest_django import Settings

from cachelayers import checks
from cachelayers.invalidation import log_size
from cachelayers.invalidation.pruning import prune
from cachelayers.management.commands import cache_stats
from tests.invalidation.conftest import Site
from tests.library.models import Author

ROWS = 60


@pytest.fixture(autouse=True)
def _few_rows_are_many(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.execute("DELETE FROM cachelayers_invalidation")
    monkeypatch.setattr(log_size, "MOST_ROWS", ROWS)


def load(site: Site, rows: int) -> None:
    Author.objects.using(site.database).bulk_create([Author(name="Ann")] * rows)


def warned(site: Site) -> list[str]:
    return [message.msg for message in checks.check_logs(None, databases=[site.database])]


def test_rows_that_were_loaded_at_once_are_a_warning_that_names_their_table(site: Site) -> None:
    if site.database == "postgres":  # its triggers log a bulk write in one row
        return
    load(site, ROWS // 2)
    assert warned(site) == []

    load(site, 1)

    assert warned(site) == [
        (
            f"The log of changes in DATABASES[{site.database!r}] has more than 60 rows, and 60 of"
            " the newest 60 are of the table 'library_author'."
        )
    ]
    [message] = checks.check_logs(None, databases=[site.database])
    assert message.id == "cachelayers.W053"
    assert "prune_cache" in (message.hint or "")
    assert "TRACK" in (message.hint or "")
    site.settle()
    prune(site.database)
    assert warned(site) == []


def test_the_advice_gives_the_same_hint(site: Site) -> None:
    if site.database == "postgres":
        return
    load(site, ROWS)

    [told] = [text for text in cache_stats.log_advice() if repr(site.database) in text]

    assert told.startswith(warned(site)[0])
    assert "prune_cache" in told


def test_a_log_that_many_tables_and_tags_have_filled_is_none(site: Site) -> None:
    if site.database == "postgres":
        return
    site.execute(
        "INSERT INTO cachelayers_invalidation (tag, at) VALUES "
        + ", ".join(f"('word:{number}', 0), ('row:t{number}:1', 0)" for number in range(ROWS))
    )

    assert warned(site) == []


def test_the_command_prints_it_below_the_advice(
    site: Site, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr(cache_stats, "advice", lambda *_: [])
    monkeypatch.setattr(cache_stats, "log_advice", lambda: ["The log is full."])
    settings.CACHELAYERS = {**settings.CACHELAYERS, "ADVISE_SAMPLE": 1.0}
    out = StringIO()

    call_command("cache_stats", "--advise", stdout=out)

    assert out.getvalue().endswith("\n\nThe log is full.\n")
