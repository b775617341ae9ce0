"""Finds a static file where the server finds it, hashes it, and notices changes.

`ids` calls it for digests that it does not know.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar
from urllib.parse import quote, unquote, urljoin
from uuid import uuid4

from django.apps import apps
from django.conf import STATICFILES_STORAGE_ALIAS, settings
from django.contrib.staticfiles import finders
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage, Storage, storages

from cachelayers.exceptions import StaticFileError
from cachelayers.staticfiles.names import Marker, split_parts

Result = TypeVar("Result")

CHUNK_BYTES = 256 * 1024
ATTEMPTS = 5  # at reading a file that is replaced again and again
ID_LETTERS = 32  # 128 bits, so that no two contents have the same id
# SHA-384, because browsers accept it for `integrity`: one read serves both uses.
NO_SUCH_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})


class Digest(NamedTuple):
    hex: str

    @property
    def cache_id(self) -> str:
        """Return the id for URLs."""
        return self.hex[:ID_LETTERS]

    @property
    def integrity(self) -> str:
        """Return the value of an ``integrity`` attribute."""
        return f"sha384-{b64encode(bytes.fromhex(self.hex)).decode()}"


class Stamp(NamedTuple):
    """File status that changes with the file; files outside file systems lack device and inode."""

    device: int
    inode: int
    size: int
    mtime_ns: int


class File(Protocol):
    """An existing static file."""

    def stamp(self) -> Stamp | None:
        """Return its current stamp; None if the storage does not know it."""

    def hash(self) -> tuple[Digest, Stamp | None]:
        """Return the digest of its content, and the stamp of the same version."""


class _Changed(Exception):
    """The file was replaced or written while it was read."""


@dataclass(frozen=True, slots=True)
class FileOnDisk:
    """A path. Symbolic links are followed, because ``collectstatic --link`` makes them."""

    name: str
    path: str

    def stamp(self) -> Stamp:
        """Return the status without opening it, which could block, or have effects on a device."""
        with naming(self.name):
            return self._checked(os.stat(self.path))  # noqa: PTH116

    def hash(self) -> tuple[Digest, Stamp]:
        """Read it, and again if it changes meanwhile."""
        return _until_unchanged(self.name, self._hash_once)

    def _hash_once(self) -> tuple[Digest, Stamp]:
        self.stamp()
        with naming(self.name), open(self.path, "rb", opener=_open_at_once) as file:
            before = self._checked(os.fstat(file.fileno()))
            digest = hash_chunks(iter(lambda: file.read(CHUNK_BYTES), b""), before.size)
            after = self._checked(os.fstat(file.fileno()))
        if not before == after == self.stamp():
            raise _Changed
        return digest, before

    def _checked(self, found: os.stat_result) -> Stamp:
        if stat.S_ISDIR(found.st_mode):
            raise StaticFileError(Marker.IS_DIRECTORY, self.name, f"{self.name!r} is a folder")
        if not stat.S_ISREG(found.st_mode):
            raise StaticFileError(
                Marker.UNREADABLE, self.name, f"{self.name!r} is no regular file, and is not opened"
            )
        if self.name.endswith("/"):
            raise missing(self.name)
        return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class FileInStorage:
    """A name in a storage without paths, such as a bucket."""

    name: str
    storage: Storage

    def exists(self) -> bool:
        with naming(self.name):
            return self.storage.exists(self.name)

    def stamp(self) -> Stamp | None:
        """Return size and time; None if the storage does not know them."""
        try:
            with naming(self.name):
                modified = self.storage.get_modified_time(self.name)
                size = self.storage.size(self.name)
        except NotImplementedError:
            return None
        return Stamp(0, 0, size, int(modified.timestamp() * 1_000_000) * 1_000)

    def hash(self) -> tuple[Digest, Stamp | None]:
        """Read it, and again if it changes meanwhile."""
        return _until_unchanged(self.name, self._hash_once)

    def _hash_once(self) -> tuple[Digest, Stamp | None]:
        before = self.stamp()
        with naming(self.name), self.storage.open(self.name) as file:
            digest = hash_chunks(file.chunks(CHUNK_BYTES), None)
        if before != self.stamp():
            raise _Changed
        return digest, before


def _open_at_once(path: str, flags: int) -> int:
    # A FIFO may have replaced the file since it was checked. Opening it must not block.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def hash_chunks(chunks: Iterator[bytes | str], size: int | None) -> Digest:
    hasher, taken = hashlib.sha384(usedforsecurity=False), 0
    for chunk in chunks:
        content = chunk.encode() if isinstance(chunk, str) else chunk
        hasher.update(content)
        taken += len(content)
        if size is not None and taken > size:
            raise _Changed  # it grows, perhaps without end
    return Digest(hasher.hexdigest())


@contextmanager
def naming(name: str, *, apart_from: type[Exception] = StaticFileError) -> Iterator[None]:
    """Turn errors into a StaticFileError that names the file and the marker."""
    try:
        yield
    except (apart_from, StaticFileError, ImproperlyConfigured, NotImplementedError, _Changed):
        raise
    except IsADirectoryError as error:
        raise StaticFileError(Marker.IS_DIRECTORY, name, f"{name!r} is a folder") from error
    except OSError as error:
        if error.errno in NO_SUCH_FILE or isinstance(error, FileNotFoundError):
            raise missing(name) from error
        raise _unreadable(name, error) from error
    # Storages raise errors of their libraries, which have no common base class.
    except Exception as error:
        raise _unreadable(name, error) from error


def missing(name: str) -> StaticFileError:
    """Return the error for a missing file."""
    return StaticFileError(
        Marker.MISSING_FILE,
        name,
        f"{name!r} is not among the static files; in production collectstatic brings it there",
    )


def _unreadable(name: str, error: Exception) -> StaticFileError:
    reason = f"{name!r} cannot be read: {type(error).__name__}: {error}"
    return StaticFileError(Marker.UNREADABLE, name, reason)


def _until_unchanged(name: str, attempt: Callable[[], Result]) -> Result:
    for _ in range(ATTEMPTS):
        try:
            return attempt()
        except _Changed:
            continue
    raise StaticFileError(Marker.UNREADABLE, name, f"{name!r} changes whenever it is read")


SCOPE = "_cachelayers_scope"  # attribute of a storage, which separates its files from others


@dataclass(frozen=True, slots=True)
class Source:
    """A storage of static files; ``scope`` is empty for the site's own."""

    storage: Storage
    scope: str = ""

    def address(self, name: str) -> str:
        """Return the URL without an id. Raises if the storage's manifest lacks the name."""
        plain_url: Callable[[str], str] = getattr(self.storage, "plain_url", self.storage.url)
        try:
            with naming(name, apart_from=ValueError):
                return plain_url(name)
        except StaticFileError:
            raise
        except ValueError as error:
            # The caller may pass a name from an earlier URL.
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
        """Return the file. Raises StaticFileError if it does not exist."""
        for lookup in self._lookups(dev_mode=dev_mode):
            file = lookup(name)
            if file is not None:
                return file
        raise missing(name)

    def _lookups(self, *, dev_mode: bool) -> list[Callable[[str], File | None]]:
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
        # The paths of an in-memory storage are not on disk.
        return None if isinstance(self.storage, FileSystemStorage) else self._without_path(name)

    def _without_path(self, name: str) -> File | None:
        file = FileInStorage(name, self.storage)
        return file if file.exists() else None


def site_source() -> Source:
    """Return the source of the site's static files."""
    return Source(storages[STATICFILES_STORAGE_ALIAS])


def source_of(storage: Storage) -> Source:
    """Return the source for a storage; the site's own storage has more places to look."""
    if storage is storages[STATICFILES_STORAGE_ALIAS]:
        return Source(storage)
    # A random scope: storages need not be hashable, and Python reuses ids.
    return Source(storage, vars(storage).setdefault(SCOPE, uuid4().hex))


def folder_source(folder: str | os.PathLike[str]) -> Source:
    location = os.path.abspath(folder)  # noqa: PTH100 - resolve() would follow links
    return Source(FileSystemStorage(location), location)


def serves_from_finders() -> bool:
    """Tell whether the server finds files in the apps' folders, before collectstatic."""
    return bool(settings.DEBUG or getattr(settings, "WHITENOISE_USE_FINDERS", False))


def in_finders(name: str) -> File | None:
    """Look for a file with the finders, like collectstatic."""
    if not apps.is_installed("django.contrib.staticfiles"):
        return None
    try:
        with naming(name):
            path = finders.find(name)
    except NotImplementedError:
        return None  # from a finder whose files have no paths
    return FileOnDisk(name, str(path)) if path else None


def seems_there(path: str) -> bool:
    """Tell whether to try to open a path. A permission error is raised when it is opened."""
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno not in NO_SUCH_FILE
    return True


def plain_address(name: str) -> str:
    """Return the URL below STATIC_URL without asking the storage."""
    return urljoin(str(settings.STATIC_URL or "/"), quote(name))
