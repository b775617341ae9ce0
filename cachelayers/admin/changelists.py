"""What the pages of tracked models are given: an action on the list, a button on a row's page."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from cachelayers.admin.notes import write_note
from cachelayers.dashboard.invalidating import Choice, carry_out, name_of_row
from cachelayers.invalidation.tracked import concrete_parts, tracked_models

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
            offer_action(model_admin)
            offer_button(model_admin)


def is_tracked(model: type[Model]) -> bool:
    """Tell whether writes to a model, or to the one that it is a proxy of, invalidate."""
    return all(part in tracked_models() for part in concrete_parts(model))


def offer_action(model_admin: ModelAdmin) -> None:
    """Add the action, unless the list has none at all or one of that name."""
    actions = model_admin.actions
    names = {action if isinstance(action, str) else action.__name__ for action in actions or ()}
    if actions is None or ACTION in names:
        return
    # Django asks the ModelAdmin whether the user may, by a method of this name.
    model_admin.has_invalidate_cached_entries_permission = may_invalidate
    model_admin.actions = [*actions, invalidate_cached_entries]


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


def offer_button(model_admin: ModelAdmin) -> None:
    """Put a button on the pages of single rows, whichever template they have."""
    render: Callable[..., HttpResponse] = model_admin.render_change_form
    if hasattr(render, "offers_to_invalidate"):
        return

    @wraps(render)
    def render_with_button(
        request: HttpRequest, context: dict[str, Any], *arguments: Any, **options: Any
    ) -> HttpResponse:
        response = render(request, context, *arguments, **options)
        if isinstance(response, TemplateResponse) and may_invalidate(request):
            extend(response, model_admin.admin_site.name)
        return response

    render_with_button.offers_to_invalidate = True  # type: ignore[attr-defined]
    model_admin.render_change_form = render_with_button


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
