"""The screen that shows the warmers with their last runs, and runs one."""

from __future__ import annotations

from datetime import timedelta

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from cachelayers.admin.screens import Screen
from cachelayers.masking import without_secrets
from cachelayers.suggestions import unknown_name
from cachelayers.tasks import NoQueue, start_in_background
from cachelayers.warming.records import AlreadyRunning
from cachelayers.warming.registry import registered_warmers
from cachelayers.warming.runs import Kind, RunState, last_runs, warmers_with_runs

WAITING = (RunState.QUEUED, RunState.RUNNING)


class WarmersScreen(Screen):
    """Warmers, and what else was warmed."""

    template = "warmers.html"
    heading = gettext_lazy("Warmers")
    permissions = ("view_warmers",)

    def show(self, request: HttpRequest) -> HttpResponse:
        """Show all, or run one and show them then."""
        if request.method == "POST":
            return self.run(request, request.POST.get("warmer", ""))
        statuses = warmers_with_runs()
        registered = {status.warmer.name for status in statuses}
        others = [
            run
            for run in last_runs()
            if run.source.kind is not Kind.WARMER
            or run.source.shard
            or run.source.name not in registered
        ]
        runs = [*(status.last_run for status in statuses), *others]
        return self.render(
            request,
            statuses=[
                (status, timedelta(seconds=status.warmer.every_seconds or 0)) for status in statuses
            ],
            others=others,
            is_waiting=any(run is not None and run.state in WAITING for run in runs),
            may_run=self.may(request, "run_warmers"),
        )

    def run(self, request: HttpRequest, name: str) -> HttpResponse:
        """Start one warmer in the background, and say what came of that."""
        if not self.may(request, "run_warmers"):
            raise PermissionDenied
        known = registered_warmers()
        if name not in known:
            self.message_user(request, unknown_name("warmer", name, known), messages.ERROR)
            return HttpResponseRedirect(request.path)
        try:
            start_in_background(name)
        except (AlreadyRunning, NoQueue, OSError) as error:
            text = f"{name!r}: {without_secrets(str(error))}"
            self.message_user(request, text, messages.ERROR)
        else:
            text = _("The warmer %s has been started.") % repr(name)
            self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(request.path)
