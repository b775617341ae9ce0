"""Who has invalidated what on the admin's pages: noted in Django's own log of the admin."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest
from django.urls import reverse

from cachelayers.dashboard.history import Happening
from cachelayers.dashboard.invalidating import Done, Outcome
from cachelayers.models import Invalidate

# An edit in the admin is noted behind the write, by another clock than the log's.
SAME_MOMENT = timedelta(seconds=5)
MOST_NOTES = 1_000
LONGEST_SUMMARY = 200  # LogEntry.object_repr


@dataclass(frozen=True)
class Note:
    """What somebody has invalidated, and what came of it."""

    by: str
    at: Any
    summary: str
    done: list[Done]


@dataclass(frozen=True)
class Author:
    """Who has caused a row of the log. ``url``: what else it did."""

    name: str
    is_edit: bool  # an edit of the row itself, told by its time
    url: str = ""


def write_note(request: HttpRequest, summary: str, outcome: Outcome) -> str:
    """Note what the user has done; return the number under which it is found again."""
    number = uuid4().hex
    message = {"done": [asdict(one) for one in outcome.done], "rows": outcome.rows}
    LogEntry.objects.create(
        user_id=str(request.user.pk),
        content_type=own_type(),
        object_id=number,
        object_repr=summary[:LONGEST_SUMMARY],
        action_flag=CHANGE,
        change_message=json.dumps(message),
    )
    return number


def read_note(number: str) -> Note | None:
    """Return what was noted under a number."""
    entries = LogEntry.objects.select_related("user")
    entry = entries.filter(content_type=own_type(), object_id=number).first()
    if entry is None:
        return None
    done = [Done(**one) for one in content_of(entry).get("done", ())]
    return Note(entry.user.get_username(), entry.action_time, entry.object_repr, done)


def authors_of(happenings: Sequence[Happening]) -> dict[int, Author]:
    """Return who has caused rows of one database's log, by their ids, where that was noted."""
    if not happenings:
        return {}
    times = [happening.at for happening in happenings]
    entries = LogEntry.objects.select_related("user").filter(
        action_time__range=(min(times) - SAME_MOMENT, max(times) + SAME_MOMENT)
    )
    found = edits(happenings, entries)
    for entry in entries.filter(content_type=own_type())[:MOST_NOTES]:
        url = reverse("admin:cachelayers_invalidate_change", args=[entry.object_id])
        rows = content_of(entry).get("rows", {}).get(happenings[0].database, ())
        found |= dict.fromkeys(rows, Author(entry.user.get_username(), False, url))
    return found


def edits(happenings: Sequence[Happening], entries: Any) -> dict[int, Author]:
    """Return who edited, in the admin, the very row at the moment that it was logged."""
    about_rows = [each for each in happenings if each.model is not None and each.key]
    types = {
        each.model: ContentType.objects.get_for_model(each.model).pk
        for each in about_rows
        if each.model is not None
    }
    keys = {spelling for each in about_rows for spelling in spellings(each.key)}
    found: dict[int, Author] = {}
    edited = entries.filter(content_type__in=types.values(), object_id__in=keys)
    for entry in edited[:MOST_NOTES] if keys else ():
        for each in about_rows:
            is_same = types[each.model] == entry.content_type_id if each.model else False
            is_near = abs(entry.action_time - each.at) <= SAME_MOMENT
            if is_same and is_near and entry.object_id in spellings(each.key):
                found[each.id] = Author(entry.user.get_username(), True)
    return found


def spellings(key: str) -> Iterable[str]:
    """Return how a row's key may be written in the admin's log: a UUID with dashes."""
    dashed = f"{key[:8]}-{key[8:12]}-{key[12:16]}-{key[16:20]}-{key[20:]}"
    return (key, dashed) if len(key) == 32 else (key,)


def content_of(entry: LogEntry) -> dict[str, Any]:
    """Return what was noted; nothing for what is none of ours."""
    try:
        content = json.loads(entry.change_message)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def own_type() -> ContentType:
    """Return the content type under which notes are kept."""
    return ContentType.objects.get_for_model(Invalidate, for_concrete_model=False)
