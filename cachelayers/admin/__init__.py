"""The Cache section of Django's admin: screens, and additions to the pages of tracked models.

Django imports it with the admin; `dashboard` has the data.
"""

from __future__ import annotations

from django.contrib import admin

from cachelayers import models
from cachelayers.admin.screens import (
    AdviceScreen,
    EntriesScreen,
    InvalidateScreen,
    LogScreen,
    OverviewScreen,
    Screen,
    WarmersScreen,
)
from cachelayers.compat import sort_section

SCREENS: dict[type[models.LogState], type[Screen]] = {
    models.Overview: OverviewScreen,
    models.Invalidate: InvalidateScreen,
    models.Warmers: WarmersScreen,
    models.Log: LogScreen,
    models.Entries: EntriesScreen,
    models.Advice: AdviceScreen,
}


def register_screens(site: admin.AdminSite) -> None:
    """Add the Cache section to an AdminSite. Django's default site has it already."""
    for model, screen in SCREENS.items():
        site.register(model, screen)
    sort_section(site, "cachelayers", [model.__name__ for model in SCREENS])


register_screens(admin.site)
