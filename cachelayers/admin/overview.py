"""The screen that shows how each layer is, and what it has answered over time."""

from __future__ import annotations

from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from cachelayers.admin.screens import Screen
from cachelayers.conf import package_settings
from cachelayers.dashboard.overview import SPANS, look
from cachelayers.masking import without_secrets


class OverviewScreen(Screen):
    """Layers with their figures, plots, and logs."""

    template = "overview.html"
    heading = _("Overview")
    permissions = ("view_overview",)

    def show(self, request: HttpRequest) -> HttpResponse:
        """Look as far back as asked for; an unknown span is the shortest."""
        chosen = request.GET.get("span", "")
        chosen = chosen if chosen in SPANS else next(iter(SPANS))
        context: dict[str, Any] = {"spans": SPANS, "chosen": chosen, "span": SPANS[chosen]}
        try:
            context["seen"] = look(SPANS[chosen])
        except DatabaseError as error:  # before the first migrate, or while the database is away
            context["problem"] = without_secrets(f"{type(error).__name__}: {error}")
        context["is_counting"] = package_settings().STATS_SECONDS is not None
        return self.render(request, **context)
