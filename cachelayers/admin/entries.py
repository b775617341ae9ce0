"""The screen that shows entries: their keys, envelopes, and to who may see them their values."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from cachelayers.admin.forms import EntriesForm
from cachelayers.admin.screens import Screen
from cachelayers.dashboard.shelves import NoSuchEntry, Shelf, Unsearchable, shelf_of, shelves
from cachelayers.masking import shown_location, without_secrets


class EntriesScreen(Screen):
    """Look for entries in one cache, and at one of them."""

    template = "entries.html"
    heading = gettext_lazy("Entries")
    permissions = ("view_entry",)

    def show(self, request: HttpRequest) -> HttpResponse:
        """Show the form, a list of entries, or one entry."""
        data = request.GET if "alias" in request.GET else None
        form = EntriesForm(data, initial={"alias": next(iter(shelves()), "")})
        if data is None or not form.is_valid():
            return self.render(request, form=form)
        alias = form.cleaned_data["alias"]
        try:
            return self.look(request, form, shelf_of(alias))
        except Unsearchable as reason:
            return self.render(request, form=form, problem=str(reason))
        except NoSuchEntry:
            return self.render(request, form=form, problem=_("There is no such entry."))
        # A cache that is away, or was never right, raises what its client likes.
        except Exception as error:  # noqa: BLE001
            problem = without_secrets(f"{type(error).__name__}: {error}")
            return self.render(request, form=form, problem=problem)

    def look(self, request: HttpRequest, form: EntriesForm, shelf: Shelf) -> HttpResponse:
        """Show one entry, or those that were searched for."""
        asked = {name: form.cleaned_data[name] for name in ("alias", "text")}
        if reference := form.cleaned_data["entry"]:
            opened = shelf.open(reference)
            if opened is None:
                return self.render(request, form=form, problem=_("This entry is gone."))
            return self.render(
                request,
                "entry.html",
                title=_("Entry"),
                opened=opened,
                alias=asked["alias"],
                may_see_value=self.may(request, "view_values"),
                back=f"?{urlencode(asked)}",
            )
        listing = shelf.search(asked["text"], form.cleaned_data["after"])
        return self.render(
            request,
            form=form,
            location=shown_location(asked["alias"]),
            listing=listing,
            rows=[
                (entry, f"?{urlencode({**asked, 'entry': entry.reference})}")
                for entry in listing.entries
            ],
            more=f"?{urlencode({**asked, 'after': listing.after})}" if listing.after else "",
        )
