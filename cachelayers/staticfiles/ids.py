"""Content ids of static files by name, from the process's memo, the shared cache or the file.

The template tags, the storage, the middleware and the warmer of static files call it.
"""

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
from cachelayers.utils.time_limits import Pause

MOST_FILES = 10_000  # about 5 MB
# These settings decide where static files are and how they are served.
SETTINGS = frozenset({"CACHELAYERS", "DEBUG", "INSTALLED_APPS", "STORAGES"})


class KnownDigest(NamedTuple):
    """A digest, the file's stamp, and the time.monotonic() of the last check."""

    digest: Digest
    stamp: Stamp | None
    looked_at: float

    def is_older_than(self, seconds: float | None) -> bool:
        """Tell whether the last check is older; with None it never is."""
        return seconds is not None and time.monotonic() - self.looked_at >= seconds


class Memo:
    """Digests by scope and name, for this process."""

    def __init__(self, most: int = MOST_FILES) -> None:
        """``most``: the maximum number of digests."""
        self._most = most
        self._digests: OrderedDict[tuple[str, str], KnownDigest] = OrderedDict()
        self._lock = ForkSafeLock()

    def __len__(self) -> int:
        return len(self._digests)

    def get(self, key: tuple[str, str]) -> KnownDigest | None:
        """Return a digest, and mark it as recently used."""
        with self._lock:
            remembered = self._digests.get(key)
            if remembered is not None:
                self._digests.move_to_end(key)
            return remembered

    def keep(self, key: tuple[str, str], digest: Digest, stamp: Stamp | None) -> None:
        """Store a digest that was checked now."""
        with self._lock:
            self._digests[key] = KnownDigest(digest, stamp, time.monotonic())
            self._digests.move_to_end(key)
            while len(self._digests) > self._most:
                self._digests.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._digests.clear()


memo = Memo()


def forget_on_change(*, setting: str, **kwargs: Any) -> None:
    """Clear the memo when a test changes settings."""
    if setting in SETTINGS or setting.startswith(("STATIC", "WHITENOISE")):
        memo.clear()
        reports.clear()


setting_changed.connect(forget_on_change, dispatch_uid="cachelayers.staticfiles.forget_on_change")


TOKEN_KEY: Final = "cachelayers:static:token"  # noqa: S105 - a name, and no secret
ENTRY = re.compile(r"(?P<token>[0-9a-f]{32}):(?P<digest>[0-9a-f]{96})")
# After a failure the shared cache is skipped: otherwise a page with fifty files would wait fifty
# times.
PAUSE_SECONDS = 10.0


pause = Pause(PAUSE_SECONDS, PAUSE_SECONDS)


class SharedDigest:
    """The entry for one version of a file in the shared cache."""

    def __init__(self, scope: str, name: str, stamp: Stamp) -> None:
        """``scope`` is empty for the site's own files."""
        # Hashed, because names may contain characters that memcached keys must not.
        file = f"{scope}\0{name}\0{stamp.size}\0{stamp.mtime_ns}".encode()
        self.key = f"cachelayers:static:{hashlib.sha256(file).hexdigest()}"
        self._token: str | None = None

    def read(self) -> Digest | None:
        """Return the digest, or None if the cache does not have it or is down."""
        if pause.is_on:
            return None
        alias = package_settings().ALIAS
        try:
            found = cache_of(alias).get_many([TOKEN_KEY, self.key])
        except SynchronousOnlyOperation:
            return None  # a template rendered by async code, with a database cache
        except Exception as error:  # noqa: BLE001 - down, never made, or not to be decoded
            pause.begin()
            report_survived(alias, "reading ids of static files", error)
            return None
        self._token = found.get(TOKEN_KEY)
        match = ENTRY.fullmatch(str(found.get(self.key)))
        return Digest(match["digest"]) if match and match["token"] == self._token else None

    def write(self, digest: Digest) -> None:
        """Share a digest. Readers ignore it if forget_shared() was called since."""
        if pause.is_on:
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
            pause.begin()
            report_survived(settings.ALIAS, "keeping ids of static files", error)


def share_token(alias: str) -> str | None:
    """Return the token of the current entries of a cache; the first caller creates it."""
    new = uuid4().hex
    if cache_of(alias).add(TOKEN_KEY, new, timeout=None):
        return new
    found: str | None = cache_of(alias).get(TOKEN_KEY)
    return found


def forget_shared(alias: str) -> None:
    """Make every entry in a cache a miss. Raises the cache's errors."""
    cache_of(alias).delete(TOKEN_KEY)


logger = logging.getLogger("cachelayers.hashing")

Folder = str | os.PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupMode:
    """How often to check files, and whether to log."""

    dev_mode: bool
    recheck_seconds: float | None
    is_logged: bool


def choose_mode(dev_mode: bool | None = None, is_logged: bool | None = None) -> LookupMode:
    """Return the mode; None means the value from the settings."""
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
    """Return the content id of a static file, or a marker with the reason why there is none.

    ``folder_path``: look in this folder instead of the site's static files. The others: None means
    as in the settings. Raises StaticFileError instead if CACHELAYERS["STRICT"] is true.
    """
    mode = choose_mode(dev_mode, log_hash_operations)
    try:
        return digest_of_reference(filename, source_for(folder_path), mode).cache_id
    except StaticFileError as error:
        report(error, dev_mode=mode.dev_mode)
        return error.marker


def build_integrity(filename: object) -> str:
    """Return ``sha384-...``, or "", because a browser refuses a file with a wrong value."""
    mode = choose_mode()
    try:
        return digest_of_reference(filename, site_source(), mode).integrity
    except StaticFileError as error:
        report(error, dev_mode=mode.dev_mode)
        return ""


def source_for(folder_path: Folder | None) -> Source:
    """Return the source for a folder, or the site's."""
    return site_source() if folder_path is None else folder_source(folder_path)


def digest_of_reference(given: object, source: Source, mode: LookupMode) -> Digest:
    """Return the digest of the file that a template names."""
    return locate(read_reference(given).names, source, mode)[1]


def locate(names: tuple[str, ...], source: Source, mode: LookupMode) -> tuple[str, Digest]:
    """Return URL and digest of the first form of a name that exists."""
    first_error: StaticFileError | None = None
    for name in names:
        try:
            return locate_one(name, source, mode)
        except StaticFileError as error:
            first_error = first_error or error
    assert first_error is not None  # noqa: S101 - there is a name at least
    raise first_error


def locate_one(name: str, source: Source, mode: LookupMode) -> tuple[str, Digest]:
    address = source.address(name)
    return address, digest_of(source.served_name(name, address), source, mode)


def digest_of(name: str, source: Source, mode: LookupMode) -> Digest:
    """Return the digest of a file. Raises StaticFileError if there is none."""
    key = source.scope, name
    remembered = memo.get(key)
    if remembered is not None and not remembered.is_older_than(mode.recheck_seconds):
        return remembered.digest
    file = source.find(name, dev_mode=mode.dev_mode)
    stamp = file.stamp()
    if remembered is not None and stamp is not None and remembered.stamp == stamp:
        memo.keep(key, remembered.digest, stamp)
        return remembered.digest
    shared = None if stamp is None else SharedDigest(*key, stamp)
    digest = shared.read() if shared else None
    if digest is None:
        digest, stamp = hash_file(file, name, mode)
        if stamp is not None:
            SharedDigest(*key, stamp).write(digest)
    memo.keep(key, digest, stamp)
    return digest


def hash_file(file: File, name: str, mode: LookupMode) -> tuple[Digest, Stamp | None]:
    """Hash the file, and log it if asked to."""
    began = time.perf_counter()
    digest, stamp = file.hash()
    if mode.is_logged:
        taken = (time.perf_counter() - began) * 1000
        logger.info("Hashed %r in %.1f ms: %s", name, taken, digest.cache_id)
    return digest, stamp


PARAMETER = "cache_id"


def build_hashed_url(given: object, storage: Storage | None = None) -> str:
    """Return the URL of a static file with its id. URLs of other sites are not changed.

    ``storage``: None for the site's own. Raises StaticFileError instead of returning a marker if
    CACHELAYERS["STRICT"] is true.
    """
    if is_foreign(given):
        return as_text(given)
    source = site_source() if storage is None else source_of(storage)
    mode = choose_mode()
    try:
        reference = read_reference(given)
    except StaticFileError as error:
        report(error, dev_mode=mode.dev_mode)
        # Every letter is encoded, so that a browser cannot follow it to another URL.
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
    """Return the URL of a file that cannot be read, even if its storage has none."""
    try:
        return source.address(name)
    except StaticFileError:
        return plain_address(name)


def with_id(address: str, cache_id: str, *, query: str = "", fragment: str = "") -> str:
    """Return a URL with the id as the last parameter, replacing an older id."""
    path, own_query, own_fragment = split_parts(address)
    parts = [part for part in f"{own_query}&{query}".split("&") if part and not is_id(part)]
    joined = "&".join([*parts, f"{PARAMETER}={cache_id}"])
    fragment = fragment or own_fragment
    return f"{path}?{joined}" + (f"#{fragment}" if fragment else "")


def is_id(part: str) -> bool:
    """Tell whether a part of a query is a content id."""
    return unquote_plus(part.partition("=")[0]) == PARAMETER


def current_id(name: str) -> str | None:
    """Return the current id of a file, or None, without logging errors.

    For requests, whose URLs can have any name: they must not fill the log.
    """
    mode = choose_mode(is_logged=False)
    looking = LookupMode(dev_mode=mode.dev_mode, recheck_seconds=0, is_logged=False)
    try:
        return digest_of(clean_name(name, name), site_source(), looking).cache_id
    except StaticFileError:
        return None


def list_static_files() -> list[str]:
    """Return the names of the served files, sorted. Raises the storage's errors."""
    names = found_names() if serves_from_finders() else stored_names()
    return sorted(set(names))


def found_names() -> Iterator[str]:
    """Yield the names that collectstatic would collect."""
    ignored = getattr(apps.get_app_config("staticfiles"), "ignore_patterns", [])
    for finder in finders.get_finders():
        for path, storage in finder.list(ignored):
            prefix = getattr(storage, "prefix", None)
            yield f"{prefix}/{path}" if prefix else path


def stored_names() -> Iterator[str]:
    """Yield the collected names; with a manifest, the names in URLs."""
    storage = site_source().storage
    hashed: dict[str, str] = getattr(storage, "hashed_files", {})
    yield from hashed.values() or get_files(storage)


def is_shared(name: str) -> bool:
    """Tell whether the shared cache has the digest of the current file."""
    _, stamp = find_with_stamp(name)
    return stamp is not None and entry_of(name, stamp).read() is not None


def share(name: str) -> bool:
    """Hash a file and share the digest. Returns whether the cache has it afterwards."""
    file, _ = find_with_stamp(name)
    digest, stamp = file.hash()
    if stamp is None:
        return False
    entry_of(name, stamp).write(digest)
    return entry_of(name, stamp).read() == digest


def find_with_stamp(name: str) -> tuple[File, Stamp | None]:
    """Return a file and its stamp. Raises StaticFileError."""
    file = site_source().find(name, dev_mode=False)
    return file, file.stamp()


def entry_of(name: str, stamp: Stamp) -> SharedDigest:
    return SharedDigest("", name, stamp)
