"""Storages that put ids into every static URL, for STORAGES["staticfiles"]."""

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
    """For any storage, in front of it: ``class Ours(HashedStaticFilesMixin, Theirs)``."""

    def url(self, name: str | None, *arguments: Any, **options: Any) -> str:
        """Return the URL with the id; arguments of the storage's own ask for its own URL."""
        # A folder is what scripts put names behind; Django's manifest leaves it alone as well.
        if arguments or options or not name or name.endswith("/"):
            return self.plain_url(name, *arguments, **options)
        return build_hashed_url(self._below(name), storage=self)

    def plain_url(self, name: str | None, *arguments: Any, **options: Any) -> str:
        """Return the URL as it would be without this class."""
        return super().url(name, *arguments, **options)

    @staticmethod
    def _below(name: str) -> str:
        # Django's storages forgive a leading slash, and so there are templates that have one.
        if not name.startswith("/") or is_foreign(name) or is_below_static_url(name):
            return name
        return name.lstrip("/")


class HashedStaticFilesStorage(HashedStaticFilesMixin, StaticFilesStorage):
    """Django's storage of static files, with ids."""
