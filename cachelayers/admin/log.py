"""The screen that shows the log: what was invalidated, when, by whom or by what."""

from __future__ import annotations

from urllib.parse import urlencode

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from cachelayers.admin.forms import LogForm
from cachelayers.admin.invalidate import InvalidateScreen
from cachelayers.admin.notes import authors_of
from cachelayers.admin.screens import Screen
from cachelayers.dashboard.history import databases_with_log, read_log
from cachelayers.masking import without_secrets


class LogScreen(Screen):
    """A page of the log, the newest first."""

    template = "log.html"
    heading = _("Log of invalidations")
    permissions = ("view_invalidation",)

    def show(self, request: HttpRequest) -> HttpResponse:
        """Show a page of one database's log."""
        databases = databases_with_log()
        form = LogForm(request.GET, databases=databases)
        if not form.is_valid():
            return self.render(request, form=form, page=None)
        cleaned = form.cleaned_data
        database, kind, text = cleaned["database"] or databases[0], cleaned["kind"], cleaned["text"]
        try:
            page = read_log(database, kind=kind, text=text, before=cleaned["before"])
        except DatabaseError as error:  # before the first migrate, or while the database is away
            problem = without_secrets(f"{type(error).__name__}: {error}")
            return self.render(request, form=form, page=None, problem=problem)
        authors = authors_of(page.rows)
        asked = {"database": database, "kind": kind, "text": text, "before": page.before}
        return self.render(
            request,
            form=form,
            page=page,
            rows=[(row, authors.get(row.id)) for row in page.rows],
            may_see_results=any(self.may(request, each) for each in InvalidateScreen.permissions),
            older=f"?{urlencode(asked)}" if page.before else "",
        )
