"""Name every static file of the site, and hash it into the shared cache. Used by warming."""

from __future__ import annotations

from collections.abc import Iterator

from django.apps import apps
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.utils import get_files

from cachelayers.hashing.files import File, Stamp
from cachelayers.hashing.places import serves_from_finders, site_source
from cachelayers.hashing.shared import SharedDigest


def list_static_files() -> list[str]:
    """Return the names under which files are served, sorted; raises what the storage raises."""
    names = found_names() if serves_from_finders() else stored_names()
    return sorted(set(names))


def found_names() -> Iterator[str]:
    """Yield the names of what collectstatic would collect."""
    ignored = getattr(apps.get_app_config("staticfiles"), "ignore_patterns", [])
    for finder in finders.get_finders():
        for path, storage in finder.list(ignored):
            prefix = getattr(storage, "prefix", None)
            yield f"{prefix}/{path}" if prefix else path


def stored_names() -> Iterator[str]:
    """Yield the names of what was collected; of a manifest those that are in URLs."""
    storage = site_source().storage
    hashed: dict[str, str] = getattr(storage, "hashed_files", {})
    yield from hashed.values() or get_files(storage)


def is_shared(name: str) -> bool:
    """Tell whether the shared cache has the digest of a file as it is now."""
    _, stamp = look_at(name)
    return stamp is not None and entry_of(name, stamp).read() is not None


def share(name: str) -> bool:
    """Hash a file and share the digest; return whether the cache has it afterwards."""
    file, _ = look_at(name)
    digest, stamp = file.hash()
    if stamp is None:
        return False
    entry_of(name, stamp).write(digest)
    return entry_of(name, stamp).read() == digest


def look_at(name: str) -> tuple[File, Stamp | None]:
    """Return a file and what it looks like; raise StaticFileError where it is not."""
    file = site_source().find(name, dev_mode=False)
    return file, file.stamp()


def entry_of(name: str, stamp: Stamp) -> SharedDigest:
    """Return the entry of a file of the site."""
    return SharedDigest("", name, stamp)
