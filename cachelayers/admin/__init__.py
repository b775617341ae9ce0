"""The Cache section of Django's admin: screens, and what tracked models' pages are given."""

from __future__ import annotations

from django.contrib import admin

from cachelayers import models
from cachelayers.admin.entries import EntriesScreen
from cachelayers.admin.invalidate import InvalidateScreen
from cachelayers.admin.log import LogScreen
from cachelayers.admin.screens import Screen

SCREENS: dict[type[models.LogState], type[Screen]] = {
    models.Invalidate: InvalidateScreen,
    models.Log: LogScreen,
    models.Entries: EntriesScreen,
}


def register_screens(site: admin.AdminSite) -> None:
    """Add the Cache section to an AdminSite. Django's own has it already."""
    for model, screen in SCREENS.items():
        site.register(model, screen)


register_screens(admin.site)
