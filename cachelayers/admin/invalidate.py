"""The screen on which an operator chooses what is not to be served any more."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib.auth import get_permission_codename
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _

from cachelayers.admin.changelists import offer_on_tracked_models
from cachelayers.admin.forms import InvalidateForm
from cachelayers.admin.notes import read_note, write_note
from cachelayers.admin.screens import Screen
from cachelayers.dashboard.invalidating import carry_out, preview


class InvalidateScreen(Screen):
    """Choose, see what it will touch, confirm, see what came of it."""

    template = "invalidate.html"
    heading = _("Invalidate")
    permissions = ("invalidate_entries", "clear_caches")

    def get_urls(self) -> list[URLPattern]:
        """Add the address of what came of it."""
        # All models of the site are registered by now: who comes later gets no address.
        offer_on_tracked_models(self.admin_site)
        result = path(
            "<str:object_id>/change/",
            self.admin_site.admin_view(self.change_view),
            name="cachelayers_invalidate_change",
        )
        return [*super().get_urls(), result]

    def show(self, request: HttpRequest) -> HttpResponse:
        """Show the form, what it will touch, or do it.

        A link to this screen may choose already; only a confirmed POST changes anything.
        """
        permissions = [each for each in self.permissions if self.may(request, each)]
        data = request.POST if request.method == "POST" else request.GET
        form = InvalidateForm(data or None, permissions=permissions)
        if not form.is_valid() or "change" in data:
            return self.render(request, form=form)
        choice = form.choice()
        if request.method == "POST" and "confirm" in data:
            number = write_note(request, choice.describe(), carry_out(choice))
            url = reverse(
                "admin:cachelayers_invalidate_change",
                args=[number],
                current_app=self.admin_site.name,
            )
            return HttpResponseRedirect(url)
        return self.render(
            request,
            "invalidate_preview.html",
            title=_("What this will touch"),
            touched=preview(choice, partial(self.may_view_row, request)),
            typed=list(form.as_typed()),
        )

    def may_view_row(self, request: HttpRequest, row: Model) -> bool:
        """Tell whether the user may know what a row is called: as the row's own pages decide."""
        own = self.admin_site._registry.get(type(row))
        if own is not None:
            return own.has_view_permission(request, row)
        codename = get_permission_codename("view", row._meta)
        return request.user.has_perm(f"{row._meta.app_label}.{codename}")

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show what came of one time that somebody confirmed."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        note = read_note(object_id)
        if note is None:
            raise Http404
        return self.render(
            request, "invalidate_result.html", title=_("What was invalidated"), note=note
        )
