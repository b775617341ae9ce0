"""The action and button on the pages of tracked models, and the audit of invalidations.

`screens` installs the action and shows the audit.
"""

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
from cachelayers.dashboard import (
    Choice,
    Done,
    Happening,
    Outcome,
    carry_out,
    count_made_from,
    entry_stores,
    name_of_row,
    row_tags,
)
from cachelayers.invalidation import concrete_models, tracked_models
from cachelayers.models import Invalidate

# The admin logs an edit after the write, and with another clock than the log.
SAME_MOMENT = timedelta(seconds=5)
MOST_NOTES = 1_000
LONGEST_SUMMARY = 200  # LogEntry.object_repr


@dataclass(frozen=True)
class AuditRecord:
    """What somebody has invalidated, and the result."""

    by: str
    at: Any
    summary: str
    done: list[Done]


@dataclass(frozen=True)
class Author:
    """Who caused a row of the log. ``url``: the audit record."""

    name: str
    is_edit: bool  # an edit of the row itself, matched by time
    url: str = ""


def write_audit(request: HttpRequest, summary: str, outcome: Outcome) -> str:
    """Record what the user has done; return the id of the record."""
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


def read_audit(number: str) -> AuditRecord | None:
    """Return the record with an id."""
    entries = LogEntry.objects.select_related("user")
    entry = entries.filter(content_type=own_type(), object_id=number).first()
    if entry is None:
        return None
    done = [Done(**one) for one in content_of(entry).get("done", ())]
    return AuditRecord(entry.user.get_username(), entry.action_time, entry.object_repr, done)


def authors_of(happenings: Sequence[Happening]) -> dict[int, Author]:
    """Return who caused rows of one database's log, by row id, if it was recorded."""
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
    """Return who edited the same row in the admin at the time when it was logged."""
    about_rows = [each for each in happenings if each.model is not None and each.key]
    types = {
        each.model: ContentType.objects.get_for_model(each.model).pk
        for each in about_rows
        if each.model is not None
    }
    keys = {spelling for each in about_rows for spelling in key_forms(each.key)}
    found: dict[int, Author] = {}
    edited = entries.filter(content_type__in=types.values(), object_id__in=keys)
    for entry in edited[:MOST_NOTES] if keys else ():
        for each in about_rows:
            is_same = types[each.model] == entry.content_type_id if each.model else False
            is_near = abs(entry.action_time - each.at) <= SAME_MOMENT
            if is_same and is_near and entry.object_id in key_forms(each.key):
                found[each.id] = Author(entry.user.get_username(), True)
    return found


def key_forms(key: str) -> Iterable[str]:
    """Return the possible forms of a key in the admin's log: a UUID has dashes there."""
    dashed = f"{key[:8]}-{key[8:12]}-{key[12:16]}-{key[16:20]}-{key[20:]}"
    return (key, dashed) if len(key) == 32 else (key,)


def content_of(entry: LogEntry) -> dict[str, Any]:
    """Return the recorded data; empty for entries of other apps."""
    try:
        content = json.loads(entry.change_message)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def own_type() -> ContentType:
    """Return the content type of audit records."""
    return ContentType.objects.get_for_model(Invalidate, for_concrete_model=False)


ACTION = "invalidate_cached_entries"
PERMISSION = "cachelayers.invalidate_entries"
VIEW_PERMISSION = "cachelayers.view_entry"
COUNTING_SECONDS = 0.1  # the page of a row waits for it
MOST_ROWS = 500  # for more, one row for the whole table is cheaper than a row each
TEMPLATE = "admin/cachelayers/change_form.html"

ModelAdmin = Any  # django-stubs' is generic, and Django's is not


def offer_on_tracked_models(site: admin.AdminSite) -> None:
    """Add the action and the button to the pages of a site's tracked models.

    AdminSite.add_action() would add it to the pages of all models.
    """
    for model, model_admin in site._registry.items():
        if is_tracked(model):
            add_admin_action(model_admin, invalidate_cached_entries, ACTION, may_invalidate)
            wrap_change_form(model_admin, partial(with_button, site.name))


def is_tracked(model: type[Model]) -> bool:
    """Tell whether a model, or the model of a proxy, is tracked."""
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
    """Invalidate entries made from the selected rows; for very many, those of their table.

    No confirmation is needed: invalid entries are computed again, and no data is lost.
    """
    rows = list(queryset[: MOST_ROWS + 1])
    are_many = len(rows) > MOST_ROWS
    choice = Choice(models=(queryset.model,)) if are_many else Choice(rows=tuple(rows))
    outcome = carry_out(choice)
    write_audit(request, choice.describe(), outcome)
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
    """Return a model's name in the singular or plural."""
    return str(model._meta.verbose_name if count == 1 else model._meta.verbose_name_plural)


def with_button(site_name: str, render: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Return a method that renders the page of a row with a button, whichever template it uses."""

    def render_with_button(request: HttpRequest, *given: Any, **options: Any) -> HttpResponse:
        response = render(request, *given, **options)
        if isinstance(response, TemplateResponse):
            extend(response, site_name, request)
        return response

    return render_with_button


def extend(response: TemplateResponse, site_name: str, request: HttpRequest) -> None:
    """Render a page with a template that extends its usual one, with what the user may use."""
    context = response.context_data or {}
    row = context.get("original")
    usual = response.resolve_template(response.template_name)
    # A template of another engine cannot be extended.
    if row is None or not hasattr(usual, "template"):
        return
    links: dict[str, Any] = {}
    if may_invalidate(request):
        screen = reverse("admin:cachelayers_invalidate_changelist", current_app=site_name)
        links["invalidate_url"] = f"{screen}?{urlencode({'rows': name_of_row(row)})}"
    if request.user.has_perm(VIEW_PERMISSION) and (alias := next(iter(entry_stores()), "")):
        screen = reverse("admin:cachelayers_entries_changelist", current_app=site_name)
        links["entries_url"] = f"{screen}?{urlencode({'alias': alias, 'row': name_of_row(row)})}"
        links["made_from_it"] = count_made_from(row_tags(row), COUNTING_SECONDS)
    if links:
        response.context_data = {**context, "usual_template": usual, **links}
        response.template_name = TEMPLATE
