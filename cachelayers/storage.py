"""Storages that add content ids to every static URL, for STORAGES["staticfiles"].

`staticfiles` makes the ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.staticfiles.storage import StaticFilesStorage
from django.core.files.storage import Storage

from cachelayers.staticfiles import build_hashed_url, is_below_static_url, is_foreign

if TYPE_CHECKING:
    Base = Storage
else:
    Base = object


class HashedStaticFilesMixin(Base):
    """Mixin for any storage: ``class OurStorage(HashedStaticFilesMixin, TheirStorage)``."""

    def url(self, name: str | None, *arguments: Any, **options: Any) -> str:
        """Return the URL with the id. With arguments of the storage's own, return its own URL."""
        # Scripts append names to the URL of a folder. Django's manifest leaves it unchanged as
        # well.
        if arguments or options or not name or name.endswith("/"):
            return self.plain_url(name, *arguments, **options)
        return build_hashed_url(self._below(name), storage=self)

    def plain_url(self, name: str | None, *arguments: Any, **options: Any) -> str:
        """Return the URL without an id."""
        return super().url(name, *arguments, **options)

    @staticmethod
    def _below(name: str) -> str:
        # Django's storages accept a leading slash, and some templates have one.
        if not name.startswith("/") or is_foreign(name) or is_below_static_url(name):
            return name
        return name.lstrip("/")


class HashedStaticFilesStorage(HashedStaticFilesMixin, StaticFilesStorage):
    """Django's storage of static files, with content ids."""
