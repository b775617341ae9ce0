"""From a name to the id of its content: memo, shared cache, file."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote_plus
from uuid import uuid4

from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.utils import get_files
from django.core.exceptions import SynchronousOnlyOperation
from django.core.files.storage import Storage
from django.core.signals import setting_changed

from cachelayers.conf import package_settings
from cachelayers.exceptions import StaticFileError
from cachelayers.lookup import report as report_survived
from cachelayers.staticfiles.files import (
    Digest,
    File,
    Source,
    Stamp,
    folder_source,
    plain_address,
    serves_from_finders,
    site_source,
    source_of,
)
from cachelayers.staticfiles.names import (
    Reference,
    as_text,
    clean_name,
    is_foreign,
    read_reference,
    report,
    reports,
    split_parts,
)
from cachelayers.utils.locks import ForkSafeLock, cache_of

MOST_FILES = 10_000  # about 5 MB
# What decides where static files are and how they are served.
SETTINGS = frozenset({"CACHELAYERS", "DEBUG", "INSTALLED_APPS", "STORAGES"})


class Known(NamedTuple):
    """A digest, the file it belongs to, and when that was last looked at by time.monotonic()."""

    digest: Digest
    stamp: Stamp | None
    looked_at: float

    def is_older_than(self, seconds: float | None) -> bool:
        """Tell whether the last look was so long ago; None is for ever."""
        return seconds is not None and time.monotonic() - self.looked_at >= seconds


class Memo:
    """Digests by scope and name."""

    def __init__(self, most: int = MOST_FILES) -> None:
        """``most``: how many are remembered."""
        self._most = most
        self._known: OrderedDict[tuple[str, str], Known] = OrderedDict()
        self._lock = ForkSafeLock()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: tuple[str, str]) -> Known | None:
        """Return what is known, and count it as used."""
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
            return known

    def keep(self, key: tuple[str, str], digest: Digest, stamp: Stamp | None) -> None:
        """Remember a digest as of now."""
        with self._lock:
            self._known[key] = Known(digest, stamp, time.monotonic())
            self._known.move_to_end(key)
            while len(self._known) > self._most:
                self._known.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._known.clear()


memo = Memo()


def forget_on_change(*, setting: str, **kwargs: Any) -> None:
    """Receive setting_changed, which tests send."""
    if setting in SETTINGS or setting.startswith(("STATIC", "WHITENOISE")):
        memo.clear()
        reports.clear()


setting_changed.connect(forget_on_change, dispatch_uid="cachelayers.staticfiles.forget_on_change")


TOKEN_KEY: Final = "cachelayers:static:token"  # noqa: S105 - a name, and no secret
ENTRY = re.compile(r"(?P<token>[0-9a-f]{32}):(?P<digest>[0-9a-f]{96})")
# After a failure: a page with fifty files must not wait fifty times for a cache that is down.
REST_SECONDS = 10.0


class Rest:
    """Until when the shared cache is left alone."""

    def __init__(self) -> None:
        """Begin at work."""
        self._until = 0.0

    def is_on(self) -> bool:
        """Tell whether it still lasts."""
        return time.monotonic() < self._until

    def begin(self) -> None:
        """Leave the cache alone for a while."""
        self._until = time.monotonic() + REST_SECONDS

    def end(self) -> None:
        """Ask the cache again."""
        self._until = 0.0


rest = Rest()


class SharedDigest:
    """The entry of one file as it is now."""

    def __init__(self, scope: str, name: str, stamp: Stamp) -> None:
        """``scope``: empty for the site's own files."""
        # Hashed, because names may hold what keys of memcached may not.
        file = f"{scope}\0{name}\0{stamp.size}\0{stamp.mtime_ns}".encode()
        self.key = f"cachelayers:static:{hashlib.sha256(file).hexdigest()}"
        self._token: str | None = None

    def read(self) -> Digest | None:
        """Return the digest if the cache has it; a cache that is down has none."""
        if rest.is_on():
            return None
        alias = package_settings().ALIAS
        try:
            found = cache_of(alias).get_many([TOKEN_KEY, self.key])
        except SynchronousOnlyOperation:
            return None  # a template rendered by async code, and a cache in a database
        except Exception as error:  # noqa: BLE001 - down, never made, or not to be decoded
            rest.begin()
            report_survived(alias, "reading ids of static files", error)
            return None
        self._token = found.get(TOKEN_KEY)
        match = ENTRY.fullmatch(str(found.get(self.key)))
        return Digest(match["digest"]) if match and match["token"] == self._token else None

    def write(self, digest: Digest) -> None:
        """Share a digest; one that was made before all were forgotten is not found afterwards."""
        if rest.is_on():
            return
        settings = package_settings()
        try:
            cache = cache_of(settings.ALIAS)
            token = self._token or share_token(settings.ALIAS)
            if token is not None:
                cache.set(self.key, f"{token}:{digest.hex}", timeout=settings.LONGEST_TIMEOUT)
        except SynchronousOnlyOperation:
            return
        except Exception as error:  # noqa: BLE001 - as above
            rest.begin()
            report_survived(settings.ALIAS, "keeping ids of static files", error)


def share_token(alias: str) -> str | None:
    """Return the token that entries of this cache have now; the first caller makes it."""
    new = uuid4().hex
    if cache_of(alias).add(TOKEN_KEY, new, timeout=None):
        return new
    found: str | None = cache_of(alias).get(TOKEN_KEY)
    return found


def forget_shared(alias: str) -> None:
    """Make every entry in a cache a miss; raises what the cache raises."""
    cache_of(alias).delete(TOKEN_KEY)


logger = logging.getLogger("cachelayers.hashing")

Folder = str | os.PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupMode:
    """How files are looked at."""

    dev_mode: bool
    recheck_seconds: float | None
    is_logged: bool


def choose_mode(dev_mode: bool | None = None, is_logged: bool | None = None) -> LookupMode:
    """Return what was asked for, or what the settings say where it is None."""
    chosen = package_settings()
    if dev_mode is None:
        dev_mode = settings.DEBUG if chosen.STATIC_DEV_MODE is None else chosen.STATIC_DEV_MODE
    return LookupMode(
        dev_mode=dev_mode,
        recheck_seconds=0 if dev_mode else chosen.STATIC_RECHECK_SECONDS,
        is_logged=chosen.STATIC_LOG if is_logged is None else is_logged,
    )


def build_cache_id(
    filename: object,
    dev_mode: bool | None = None,
    folder_path: Folder | None = None,
    log_hash_operations: bool | None = None,
) -> str:
    """Return the id of a static file's content, or a marker that says why there is none.

    ``folder_path``: look in this folder, not among the site's static files. None: as the settings
    say. Raises StaticFileError in place of a marker where CACHELAYERS["STRICT"] is true.
    """
    mode = choose_mode(dev_mode, log_hash_operations)
    try:
        return digest_of_given(filename, source_for(folder_path), mode).cache_id
    except StaticFileError as error:
        report(error, dev_mode=mode.dev_mode)
        return error.marker


def build_integrity(filename: object) -> str:
    """Return ``sha384-...``, or nothing: a wrong value would keep browsers from using the file."""
    mode = choose_mode()
    try:
        return digest_of_given(filename, site_source(), mode).integrity
    except StaticFileError as error:
        report(error, dev_mode=mode.dev_mode)
        return ""


def source_for(folder_path: Folder | None) -> Source:
    """Return where to look: in a folder, or where the site has its static files."""
    return site_source() if folder_path is None else folder_source(folder_path)


def digest_of_given(given: object, source: Source, mode: LookupMode) -> Digest:
    """Return the digest of what a template names."""
    return locate(read_reference(given).names, source, mode)[1]


def locate(names: tuple[str, ...], source: Source, mode: LookupMode) -> tuple[str, Digest]:
    """Return address and digest of the first spelling of a name that there is."""
    first_error: StaticFileError | None = None
    for name in names:
        try:
            return locate_one(name, source, mode)
        except StaticFileError as error:
            first_error = first_error or error
    assert first_error is not None  # noqa: S101 - there is a name at least
    raise first_error


def locate_one(name: str, source: Source, mode: LookupMode) -> tuple[str, Digest]:
    """Return address and digest of one name."""
    address = source.address(name)
    return address, digest_of(source.served_name(name, address), source, mode)


def digest_of(name: str, source: Source, mode: LookupMode) -> Digest:
    """Return the digest of the file of this name; raise StaticFileError where there is none."""
    key = source.scope, name
    known = memo.get(key)
    if known is not None and not known.is_older_than(mode.recheck_seconds):
        return known.digest
    file = source.find(name, dev_mode=mode.dev_mode)
    stamp = file.stamp()
    if known is not None and stamp is not None and known.stamp == stamp:
        memo.keep(key, known.digest, stamp)
        return known.digest
    shared = None if stamp is None else SharedDigest(*key, stamp)
    digest = shared.read() if shared else None
    if digest is None:
        digest, stamp = hash_file(file, name, mode)
        if stamp is not None:
            SharedDigest(*key, stamp).write(digest)
    memo.keep(key, digest, stamp)
    return digest


def hash_file(file: File, name: str, mode: LookupMode) -> tuple[Digest, Stamp | None]:
    """Read the file, and say so where that is wanted."""
    began = time.perf_counter()
    digest, stamp = file.hash()
    if mode.is_logged:
        taken = (time.perf_counter() - began) * 1000
        logger.info("Hashed %r in %.1f ms: %s", name, taken, digest.cache_id)
    return digest, stamp


PARAMETER = "cache_id"


def build_hashed_url(given: object, storage: Storage | None = None) -> str:
    """Return the URL of a static file with its id; URLs of others as they are.

    ``storage``: where it is, None for that of the site. Raises StaticFileError in place of a marker
    where CACHELAYERS["STRICT"] is true.
    """
    if is_foreign(given):
        return as_text(given)
    source = site_source() if storage is None else source_of(storage)
    mode = choose_mode()
    try:
        reference = read_reference(given)
    except StaticFileError as error:
        report(error, dev_mode=mode.dev_mode)
        # Encoded to the last letter: no browser follows it to another place.
        return with_id(
            plain_address("") + quote(as_text(given), safe="", errors="replace"), error.marker
        )
    return url_of(reference, source, mode)


def url_of(reference: Reference, source: Source, mode: LookupMode) -> str:
    """Return the URL with the id or a marker."""
    try:
        address, digest = locate(reference.names, source, mode)
        found = digest.cache_id
    except StaticFileError as error:
        report(error, dev_mode=mode.dev_mode)
        address, found = address_or_plain(reference.names[0], source), error.marker
    return with_id(address, found, query=reference.query, fragment=reference.fragment)


def address_or_plain(name: str, source: Source) -> str:
    """Return the URL of a file that cannot be read, also where its storage has none for it."""
    try:
        return source.address(name)
    except StaticFileError:
        return plain_address(name)


def with_id(address: str, cache_id: str, *, query: str = "", fragment: str = "") -> str:
    """Return a URL with the id as its last parameter, the only one of that name."""
    path, own_query, own_fragment = split_parts(address)
    parts = [part for part in f"{own_query}&{query}".split("&") if part and not is_id(part)]
    joined = "&".join([*parts, f"{PARAMETER}={cache_id}"])
    fragment = fragment or own_fragment
    return f"{path}?{joined}" + (f"#{fragment}" if fragment else "")


def is_id(part: str) -> bool:
    """Tell whether a part of a query is an id."""
    return unquote_plus(part.partition("=")[0]) == PARAMETER


def current_id(name: str) -> str | None:
    """Return the id that the file of this name has now, None where it has none; reports nothing.

    For requests: their names are anybody's, and what stands in a log is for the site's own.
    """
    mode = choose_mode(is_logged=False)
    looking = LookupMode(dev_mode=mode.dev_mode, recheck_seconds=0, is_logged=False)
    try:
        return digest_of(clean_name(name, name), site_source(), looking).cache_id
    except StaticFileError:
        return None


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
