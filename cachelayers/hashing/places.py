"""Find static files where the server that serves them would. Used by ids, urls and listing."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, unquote, urljoin
from uuid import uuid4

from django.apps import apps
from django.conf import STATICFILES_STORAGE_ALIAS, settings
from django.contrib.staticfiles import finders
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage, Storage, storages

from cachelayers.exceptions import StaticFileError
from cachelayers.hashing.files import NO_SUCH_FILE, File, FileInStorage, FileOnDisk, missing, naming
from cachelayers.hashing.markers import Marker
from cachelayers.hashing.names import split_parts

SCOPE = "_cachelayers_scope"  # on a storage: tells its files from those of others


@dataclass(frozen=True, slots=True)
class Source:
    """A storage of static files; ``scope`` is empty for that of the site."""

    storage: Storage
    scope: str = ""

    def address(self, name: str) -> str:
        """Return the URL without an id; raise where the storage's manifest lacks the name."""
        plain_url: Callable[[str], str] = getattr(self.storage, "plain_url", self.storage.url)
        try:
            with naming(name, apart_from=ValueError):
                return plain_url(name)
        except StaticFileError:
            raise
        except ValueError as error:
            # Somebody may have asked for the URL before, and gives the name that is in it.
            if name in getattr(self.storage, "hashed_files", {}).values():
                return plain_address(name)
            reason = f"{name!r} has no URL: {error}"
            raise StaticFileError(Marker.MISSING_FILE, name, reason) from error

    def served_name(self, name: str, address: str) -> str:
        """Return the name of the file behind the URL, whose content a manifest may have changed."""
        base = getattr(self.storage, "base_url", None) or settings.STATIC_URL or ""
        if not base or not address.startswith(base):
            return name
        return unquote(split_parts(address[len(base) :])[0]) or name

    def find(self, name: str, *, dev_mode: bool) -> File:
        """Return the file; raise where it is nowhere."""
        for look in self._looks(dev_mode=dev_mode):
            file = look(name)
            if file is not None:
                return file
        raise missing(name)

    def _looks(self, *, dev_mode: bool) -> list[Callable[[str], File | None]]:
        if self.scope:
            return [self._in_storage]
        if serves_from_finders():
            return [in_finders, self._in_storage]
        if dev_mode or settings.STATIC_ROOT is None:
            return [self._in_storage, in_finders]
        return [self._in_storage]

    def _in_storage(self, name: str) -> File | None:
        try:
            with naming(name):
                path = self.storage.path(name)
        except ImproperlyConfigured:
            return None  # no STATIC_ROOT
        except NotImplementedError:
            return self._without_path(name)
        if seems_there(path):
            return FileOnDisk(name, path)
        # Paths of the storage in memory are none of the disk.
        return None if isinstance(self.storage, FileSystemStorage) else self._without_path(name)

    def _without_path(self, name: str) -> File | None:
        file = FileInStorage(name, self.storage)
        return file if file.exists() else None


def site_source() -> Source:
    """Return where the site's static files are."""
    return Source(storages[STATICFILES_STORAGE_ALIAS])


def source_of(storage: Storage) -> Source:
    """Return the source that a storage is; the site's own is more than its storage."""
    if storage is storages[STATICFILES_STORAGE_ALIAS]:
        return Source(storage)
    # An id of its own: storages need not be hashable, and an address may be used again.
    return Source(storage, vars(storage).setdefault(SCOPE, uuid4().hex))


def folder_source(folder: str | os.PathLike[str]) -> Source:
    """Return a folder as a source."""
    location = os.path.abspath(folder)  # noqa: PTH100 - resolve() would follow links
    return Source(FileSystemStorage(location), location)


def serves_from_finders() -> bool:
    """Tell whether what is served comes from the apps' folders before collectstatic."""
    return bool(settings.DEBUG or getattr(settings, "WHITENOISE_USE_FINDERS", False))


def in_finders(name: str) -> File | None:
    """Look for a file where collectstatic would."""
    if not apps.is_installed("django.contrib.staticfiles"):
        return None
    try:
        with naming(name):
            path = finders.find(name)
    except NotImplementedError:
        return None  # of a finder whose files have no paths
    return FileOnDisk(name, str(path)) if path else None


def seems_there(path: str) -> bool:
    """Tell whether the path is worth opening; what may not be looked at is for the file to say."""
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno not in NO_SUCH_FILE
    return True


def plain_address(name: str) -> str:
    """Return the URL below STATIC_URL without asking the storage."""
    return urljoin(str(settings.STATIC_URL or "/"), quote(name))
