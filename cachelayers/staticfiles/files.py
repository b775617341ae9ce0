"""Find a static file where its server would, hash it, and tell whether it has changed."""

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
ATTEMPTS = 5  # at a file that is replaced again and again while it is read
ID_LETTERS = 32  # 128 bits: two contents with one id are not to be expected in any life
# Of SHA-384, because browsers take it for `integrity`: one read serves both.
NO_SUCH_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})


class Digest(NamedTuple):
    """The SHA-384 of a content."""

    hex: str

    @property
    def cache_id(self) -> str:
        """Return what stands in URLs."""
        return self.hex[:ID_LETTERS]

    @property
    def integrity(self) -> str:
        """Return what stands in an attribute ``integrity``."""
        return f"sha384-{b64encode(bytes.fromhex(self.hex)).decode()}"


class Stamp(NamedTuple):
    """What changes when a file does; files outside of file systems have no device and inode."""

    device: int
    inode: int
    size: int
    mtime_ns: int


class File(Protocol):
    """One static file that exists."""

    def stamp(self) -> Stamp | None:
        """Return what it looks like now; None where its storage does not tell."""

    def hash(self) -> tuple[Digest, Stamp | None]:
        """Return the digest of its content, and the stamp that belongs to that content."""


class _Changed(Exception):
    """The file was replaced or written to while it was read."""


@dataclass(frozen=True, slots=True)
class FileOnDisk:
    """A path; symbolic links are followed, as ``collectstatic --link`` makes them."""

    name: str
    path: str

    def stamp(self) -> Stamp:
        """Look at it without opening it: to open a device can have effects, and a FIFO blocks."""
        with naming(self.name):
            return self._checked(os.stat(self.path))  # noqa: PTH116

    def hash(self) -> tuple[Digest, Stamp]:
        """Read it, once more if it changes meanwhile."""
        return _until_unchanged(self.name, self._hash_once)

    def _hash_once(self) -> tuple[Digest, Stamp]:
        self.stamp()
        with naming(self.name), open(self.path, "rb", opener=_open_at_once) as file:
            before = self._checked(os.fstat(file.fileno()))
            digest = _hash_chunks(iter(lambda: file.read(CHUNK_BYTES), b""), before.size)
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
        """Ask the storage."""
        with naming(self.name):
            return self.storage.exists(self.name)

    def stamp(self) -> Stamp | None:
        """Ask for size and time; None where the storage does not know them."""
        try:
            with naming(self.name):
                modified = self.storage.get_modified_time(self.name)
                size = self.storage.size(self.name)
        except NotImplementedError:
            return None
        return Stamp(0, 0, size, int(modified.timestamp() * 1_000_000) * 1_000)

    def hash(self) -> tuple[Digest, Stamp | None]:
        """Read it, once more if it changes meanwhile."""
        return _until_unchanged(self.name, self._hash_once)

    def _hash_once(self) -> tuple[Digest, Stamp | None]:
        before = self.stamp()
        with naming(self.name), self.storage.open(self.name) as file:
            digest = _hash_chunks(file.chunks(CHUNK_BYTES), None)
        if before != self.stamp():
            raise _Changed
        return digest, before


def _open_at_once(path: str, flags: int) -> int:
    # If a FIFO has taken the file's place since the look at it, opening that must not wait.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _hash_chunks(chunks: Iterator[bytes | str], size: int | None) -> Digest:
    hasher, taken = hashlib.sha384(usedforsecurity=False), 0
    for chunk in chunks:
        content = chunk.encode() if isinstance(chunk, str) else chunk
        hasher.update(content)
        taken += len(content)
        if size is not None and taken > size:
            raise _Changed  # it grows, perhaps without an end
    return Digest(hasher.hexdigest())


@contextmanager
def naming(name: str, *, apart_from: type[Exception] = StaticFileError) -> Iterator[None]:
    """Say of which file it is that something cannot be done, and which marker stands for that."""
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
    # Storages raise errors of their libraries, which have no common base.
    except Exception as error:
        raise _unreadable(name, error) from error


def missing(name: str) -> StaticFileError:
    """Return the error for a file that is nowhere."""
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
