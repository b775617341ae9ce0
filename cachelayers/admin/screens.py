"""The screens of the Cache section.

Each uses the ModelAdmin of an unmanaged model, so that Django's admin lists it.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.auth import get_permission_codename
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext, gettext_lazy
from django.utils.translation import gettext_lazy as _

from cachelayers.admin.changelists import (
    authors_of,
    offer_on_tracked_models,
    read_audit,
    write_audit,
)
from cachelayers.admin.forms import EntriesForm, InvalidateForm, LogForm
from cachelayers.conf import package_settings
from cachelayers.dashboard import (
    SPANS,
    EntryStore,
    NoSuchEntry,
    Unsearchable,
    carry_out,
    databases_with_log,
    entry_store_of,
    entry_stores,
    fields_for,
    key_of,
    preview,
    read_log,
    read_overview,
)
from cachelayers.models import LogState
from cachelayers.statistics import advice
from cachelayers.tasks import NoQueue, start_in_background
from cachelayers.utils.suggestions import unknown_name
from cachelayers.utils.text import shown_location, without_secrets
from cachelayers.warming import (
    AlreadyRunning,
    Kind,
    RunState,
    last_runs,
    registered_warmers,
    warmers_with_runs,
)

if TYPE_CHECKING:
    ScreenBase = admin.ModelAdmin[LogState]
else:
    ScreenBase = admin.ModelAdmin


class Screen(ScreenBase):
    """A screen at the URL where Django lists a model's rows."""

    template = ""
    heading: Any = ""
    permissions: tuple[str, ...] = ()  # the user needs one of them

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tell whether the user may see the screen."""
        return any(self.may(request, permission) for permission in self.permissions)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Tell whether the section is listed because of this screen."""
        return self.has_view_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def may(self, request: HttpRequest, permission: str) -> bool:
        """Tell whether the user has a permission of this package."""
        return request.user.has_perm(f"cachelayers.{permission}")

    def get_urls(self) -> list[URLPattern]:
        """Return one URL, without Django's forms for rows."""
        return [
            path(
                "",
                self.admin_site.admin_view(self.changelist_view),
                name=f"cachelayers_{self.opts.model_name}_changelist",
            )
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the screen if the user may see it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return self.show(request)

    def show(self, request: HttpRequest) -> HttpResponse:
        """Return the response for a user who may see the screen."""
        raise LookupError  # each screen has its own

    def render(self, request: HttpRequest, template: str = "", **context: Any) -> HttpResponse:
        """Return a page in the layout of the admin."""
        request.current_app = self.admin_site.name
        return TemplateResponse(
            request,
            f"admin/cachelayers/{template or self.template}",
            {
                **self.admin_site.each_context(request),
                "title": self.heading,
                "opts": self.opts,
                "section": gettext("Cache"),
                **context,
            },
        )


SINCE_SECONDS = 24 * 60 * 60


class AdviceScreen(Screen):
    """Views, functions, queries and fragments, by the time that a cache would save."""

    template = "advice.html"
    heading = _("What should I cache?")
    permissions = ("view_advice",)

    def show(self, request: HttpRequest) -> HttpResponse:
        """Show the samples of one day."""
        context: dict[str, Any] = {"part": package_settings().ADVISE_SAMPLE}
        try:
            found = advice(SINCE_SECONDS)
        except DatabaseError as error:  # before the first migrate, or if the database is down
            problem = without_secrets(f"{type(error).__name__}: {error}")
            return self.render(request, problem=problem, **context)
        return self.render(
            request,
            advised=[one for one in found if not one.is_kept],
            kept=[one for one in found if one.is_kept],
            **context,
        )


class EntriesScreen(Screen):
    """Searches the entries of one cache, and shows one of them."""

    template = "entries.html"
    heading = gettext_lazy("Entries")
    permissions = ("view_entry",)

    def show(self, request: HttpRequest) -> HttpResponse:
        """Show the form, a list of entries, or one entry."""
        data = request.GET if "alias" in request.GET else None
        form = EntriesForm(data, initial={"alias": next(iter(entry_stores()), "")})
        if data is None or not form.is_valid():
            return self.render(request, form=form)
        alias = form.cleaned_data["alias"]
        try:
            return self.show_entries(request, form, entry_store_of(alias))
        except Unsearchable as reason:
            return self.render(request, form=form, problem=str(reason))
        except NoSuchEntry:
            return self.render(request, form=form, problem=gettext("There is no such entry."))
        # A cache that is down or misconfigured raises errors of its client's library.
        except Exception as error:  # noqa: BLE001
            problem = without_secrets(f"{type(error).__name__}: {error}")
            return self.render(request, form=form, problem=problem)

    def show_entries(
        self, request: HttpRequest, form: EntriesForm, entry_store: EntryStore
    ) -> HttpResponse:
        """Show one entry, or the result of a search."""
        asked = form.asked()
        alias = asked["alias"]
        if reference := form.cleaned_data["entry"]:
            opened = entry_store.open(reference)
            if opened is None:
                return self.render(request, form=form, problem=gettext("This entry is gone."))
            return self.render(
                request,
                "entry.html",
                title=gettext("Entry"),
                opened=opened,
                alias=alias,
                invalidate=self.invalidate_entry(request, alias, opened.listed.name),
                may_see_value=self.may(request, "view_values"),
                back=f"?{urlencode(asked)}",
            )
        listing = entry_store.search(form.wanted(), form.cleaned_data["after"])
        return self.render(
            request,
            form=form,
            location=shown_location(alias),
            listing=listing,
            rows=[
                (
                    entry,
                    f"?{urlencode({**asked, 'entry': entry.reference})}",
                    self.invalidate_entry(request, alias, entry.name),
                )
                for entry in listing.entries
            ],
            invalidate_all=self.invalidate_all(request, asked),
            more=f"?{urlencode({**asked, 'after': listing.after})}" if listing.after else "",
        )

    def invalidate_entry(self, request: HttpRequest, alias: str, name: str) -> str:
        """Return the URL of the preview for one entry; "" if the user may not, or it has no key."""
        found = key_of(alias, name) if self.may(request, "clear_caches") else None
        return self.preview_url({"aliases": found[0], "key_prefix": found[1]}) if found else ""

    def invalidate_all(self, request: HttpRequest, asked: dict[str, str]) -> str:
        """Return the URL of the preview for the row or tag that was searched for, or ""."""
        row, tag = asked.get("row"), asked.get("tag")
        chosen = {**(fields_for(tag) if tag else {}), **({"rows": row} if row else {})}
        may = self.may(request, "invalidate_entries")
        return self.preview_url(chosen) if chosen and may else ""

    def preview_url(self, chosen: dict[str, Any]) -> str:
        """Return the URL that fills in the form for invalidating, and opens its preview."""
        name = "admin:cachelayers_invalidate_changelist"
        return f"{reverse(name, current_app=self.admin_site.name)}?{urlencode(chosen)}"


class OverviewScreen(Screen):
    """Layers with their figures, plots, and logs."""

    template = "overview.html"
    heading = _("Overview")
    permissions = ("view_overview",)

    def show(self, request: HttpRequest) -> HttpResponse:
        """Show the chosen time span; for an unknown one, the shortest."""
        chosen = request.GET.get("span", "")
        chosen = chosen if chosen in SPANS else next(iter(SPANS))
        context: dict[str, Any] = {"spans": SPANS, "chosen": chosen, "span": SPANS[chosen]}
        try:
            context["overview"] = read_overview(
                SPANS[chosen], with_tags=self.may(request, LogScreen.permissions[0])
            )
        except DatabaseError as error:  # before the first migrate, or if the database is down
            context["problem"] = without_secrets(f"{type(error).__name__}: {error}")
        if self.may(request, EntriesScreen.permissions[0]):
            context["entries_url"] = self.entries_url()
        context["is_counting"] = package_settings().STATS_SECONDS is not None
        context["part"] = package_settings().ADVISE_SAMPLE
        return self.render(request, **context)

    def entries_url(self) -> str:
        """Return the beginning of the URL of a search for entries."""
        name = "admin:cachelayers_entries_changelist"
        alias = urlencode({"alias": next(iter(entry_stores()), "")})
        return f"{reverse(name, current_app=self.admin_site.name)}?{alias}&"


WAITING = (RunState.QUEUED, RunState.RUNNING)


class WarmersScreen(Screen):
    """Warmers and their last runs."""

    template = "warmers.html"
    heading = gettext_lazy("Warmers")
    permissions = ("view_warmers",)

    def show(self, request: HttpRequest) -> HttpResponse:
        """Show all, or run one first."""
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
        """Start one warmer in the background, and show whether it started."""
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
            text = gettext("The warmer %s has been started.") % repr(name)
            self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(request.path)


class InvalidateScreen(Screen):
    """Choose what to invalidate, see a preview, confirm, and see the result."""

    template = "invalidate.html"
    heading = _("Invalidate")
    permissions = ("invalidate_entries", "clear_caches")

    def get_urls(self) -> list[URLPattern]:
        """Add the URL of a result."""
        # All models are registered by now; a model registered later gets no button.
        offer_on_tracked_models(self.admin_site)
        result = path(
            "<str:object_id>/change/",
            self.admin_site.admin_view(self.change_view),
            name="cachelayers_invalidate_change",
        )
        return [*super().get_urls(), result]

    def show(self, request: HttpRequest) -> HttpResponse:
        """Show the form, the preview or the result.

        A link may fill in the form; only a confirmed POST changes anything.
        """
        permissions = [each for each in self.permissions if self.may(request, each)]
        data = request.POST if request.method == "POST" else request.GET
        form = InvalidateForm(data or None, permissions=permissions)
        if not form.is_valid() or "change" in data:
            return self.render(request, form=form)
        choice = form.choice()
        if request.method == "POST" and "confirm" in data:
            number = write_audit(request, choice.describe(), carry_out(choice))
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
        """Tell whether the user may see a row's name, as decided by the row's own admin."""
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
        """Show the result of a confirmed invalidation."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        record = read_audit(object_id)
        if record is None:
            raise Http404
        return self.render(
            request, "invalidate_result.html", title=_("What was invalidated"), record=record
        )


class LogScreen(Screen):
    """A page of the log, the newest first."""

    template = "log.html"
    heading = _("Log of invalidations")
    permissions = ("view_invalidation",)

    def show(self, request: HttpRequest) -> HttpResponse:
        databases = databases_with_log()
        form = LogForm(request.GET, databases=databases)
        if not form.is_valid():
            return self.render(request, form=form, page=None)
        cleaned = form.cleaned_data
        database, kind, text = cleaned["database"] or databases[0], cleaned["kind"], cleaned["text"]
        try:
            page = read_log(database, kind=kind, text=text, before=cleaned["before"])
        except DatabaseError as error:  # before the first migrate, or if the database is down
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
