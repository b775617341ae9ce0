"""What all screens of the Cache section have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _

from cachelayers.models import LogState

if TYPE_CHECKING:
    ScreenBase = admin.ModelAdmin[LogState]
else:
    ScreenBase = admin.ModelAdmin


class Screen(ScreenBase):
    """One screen, in the place where Django lists a model's rows."""

    template = ""
    heading: Any = ""
    permissions: tuple[str, ...] = ()  # one of them is needed to see it

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tell whether the user may see the screen."""
        return any(self.may(request, permission) for permission in self.permissions)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Tell whether the section is listed because of this screen."""
        return self.has_view_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Have no form to add anything."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Have no form to change anything."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Have no form to delete anything."""
        return False

    def may(self, request: HttpRequest, permission: str) -> bool:
        """Tell whether the user has a permission of this package."""
        return request.user.has_perm(f"cachelayers.{permission}")

    def get_urls(self) -> list[URLPattern]:
        """Have one address; those of Django's forms for rows are not there."""
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
        """Show the screen to who may see it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return self.show(request)

    def show(self, request: HttpRequest) -> HttpResponse:
        """Answer a request of somebody who may see the screen."""
        raise LookupError  # each screen has its own

    def render(self, request: HttpRequest, template: str = "", **context: Any) -> HttpResponse:
        """Return a page in the frame of the admin."""
        request.current_app = self.admin_site.name
        return TemplateResponse(
            request,
            f"admin/cachelayers/{template or self.template}",
            {
                **self.admin_site.each_context(request),
                "title": self.heading,
                "opts": self.opts,
                "section": _("Cache"),
                **context,
            },
        )
