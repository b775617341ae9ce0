"""The screen that says what should be cached: what the site spends its time on, measured."""

from __future__ import annotations

from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from cachelayers.admin.screens import Screen
from cachelayers.conf import package_settings
from cachelayers.masking import without_secrets
from cachelayers.statistics import advice

SINCE_SECONDS = 24 * 60 * 60


class AdviceScreen(Screen):
    """Views, functions, queries and fragments, by the time that a cache would save."""

    template = "advice.html"
    heading = _("What should I cache?")
    permissions = ("view_advice",)

    def show(self, request: HttpRequest) -> HttpResponse:
        """Show what was sampled within a day."""
        context: dict[str, Any] = {"part": package_settings().ADVISE_SAMPLE}
        try:
            found = advice(SINCE_SECONDS)
        except DatabaseError as error:  # before the first migrate, or while the database is away
            problem = without_secrets(f"{type(error).__name__}: {error}")
            return self.render(request, problem=problem, **context)
        return self.render(
            request,
            advised=[one for one in found if not one.is_kept],
            kept=[one for one in found if one.is_kept],
            **context,
        )
