"""What the pages of tracked models are given, and the audit of who invalidated what."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from cachelayers.compat import add_admin_action, wrap_change_form
from cachelayers.dashboard import Choice, Done, Happening, Outcome, carry_out, name_of_row
from cachelayers.invalidation.tracked import concrete_models, tracked_models
from cachelayers.models import Invalidate

# An edit in the admin is noted behind the write, by another clock than the log's.
SAME_MOMENT = timedelta(seconds=5)
MOST_NOTES = 1_000
LONGEST_SUMMARY = 200  # LogEntry.object_repr


@dataclass(frozen=True)
class AuditRecord:
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


def read_note(number: str) -> AuditRecord | None:
    """Return what was noted under a number."""
    entries = LogEntry.objects.select_related("user")
    entry = entries.filter(content_type=own_type(), object_id=number).first()
    if entry is None:
        return None
    done = [Done(**one) for one in content_of(entry).get("done", ())]
    return AuditRecord(entry.user.get_username(), entry.action_time, entry.object_repr, done)


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


ACTION = "invalidate_cached_entries"
PERMISSION = "cachelayers.invalidate_entries"
MOST_ROWS = 500  # beyond, a row of the log for each would cost more than one for the whole table
TEMPLATE = "admin/cachelayers/change_form.html"

ModelAdmin = Any  # django-stubs' is generic, and Django's is not


def offer_on_tracked_models(site: admin.AdminSite) -> None:
    """Give the action and the button to the pages of the tracked models that a site has.

    Not by AdminSite.add_action(): that one would be on the lists of all models.
    """
    for model, model_admin in site._registry.items():
        if is_tracked(model):
            add_admin_action(model_admin, invalidate_cached_entries, ACTION, may_invalidate)
            wrap_change_form(model_admin, partial(render_with_button, model_admin))


def is_tracked(model: type[Model]) -> bool:
    """Tell whether writes to a model, or to the one that it is a proxy of, invalidate."""
    return all(part in tracked_models() for part in concrete_models(model))


def may_invalidate(request: HttpRequest) -> bool:
    """Tell whether the user may use the action and the button."""
    return request.user.has_perm(PERMISSION)


@admin.action(
    permissions=[ACTION],
    description=_("Invalidate cached entries of the selected %(verbose_name_plural)s"),
)
def invalidate_cached_entries(
    model_admin: ModelAdmin, request: HttpRequest, queryset: QuerySet[Any]
) -> None:
    """Invalidate what was made from the selected rows; of very many, what their table was read for.

    Nothing is asked: what is invalid is computed again, and no data is lost.
    """
    rows = list(queryset[: MOST_ROWS + 1])
    are_many = len(rows) > MOST_ROWS
    choice = Choice(models=(queryset.model,)) if are_many else Choice(rows=tuple(rows))
    outcome = carry_out(choice)
    write_note(request, choice.describe(), outcome)
    if failures := [done.what for done in outcome.done if not done.is_done and not done.layer]:
        model_admin.message_user(request, failures[0], messages.ERROR)
    elif choice.models:
        text = (
            _("Cached entries of all %s are invalid now.")
            % queryset.model._meta.verbose_name_plural
        )
        model_admin.message_user(request, text, messages.SUCCESS)
    else:
        text = ngettext(
            "Cached entries of %(count)d %(name)s are invalid now.",
            "Cached entries of %(count)d %(name)s are invalid now.",
            len(rows),
        ) % {"count": len(rows), "name": name_of(queryset.model, len(rows))}
        model_admin.message_user(request, text, messages.SUCCESS)


def name_of(model: type[Model], count: int) -> str:
    """Return a model's name in the singular or the plural."""
    return str(model._meta.verbose_name if count == 1 else model._meta.verbose_name_plural)


def render_with_button(
    model_admin: ModelAdmin,
    render: Callable[..., HttpResponse],
    request: HttpRequest,
    *given: Any,
    **options: Any,
) -> HttpResponse:
    """Render the page of a single row, with a button whichever template it has."""
    response = render(request, *given, **options)
    if isinstance(response, TemplateResponse) and may_invalidate(request):
        extend(response, model_admin.admin_site.name)
    return response


def extend(response: TemplateResponse, site_name: str) -> None:
    """Have a page rendered by a template that extends the one it would have been rendered by."""
    context = response.context_data or {}
    row = context.get("original")
    usual = response.resolve_template(response.template_name)
    # A template of another engine cannot be extended.
    if row is None or not hasattr(usual, "template"):
        return
    screen = reverse("admin:cachelayers_invalidate_changelist", current_app=site_name)
    response.context_data = {
        **context,
        "usual_template": usual,
        "invalidate_url": f"{screen}?{urlencode({'rows': name_of_row(row)})}",
    }
    response.template_name = TEMPLATE
