"""Admin pages of the CMS."""

from typing import TYPE_CHECKING

from django.contrib import admin

from testproject.pages.models import Page

if TYPE_CHECKING:
    PageAdminBase = admin.ModelAdmin[Page]
else:
    PageAdminBase = admin.ModelAdmin


@admin.register(Page)
class PageAdmin(PageAdminBase):
    list_display = ("title", "slug", "menu_position", "updated")
    list_editable = ("menu_position",)
    search_fields = ("title", "summary", "text")
    prepopulated_fields = {"slug": ("title",)}
    readonly_fields = ("updated",)
    fieldsets = (
        (None, {"fields": ("title", "slug", "summary", "text")}),
        ("Listing", {"fields": ("menu_position", "updated")}),
    )
