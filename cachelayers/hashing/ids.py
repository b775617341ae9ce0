"""The flow from a name to the digest of its content: memo, shared cache, file. Used by the doors.

In production a file is hashed once in the life of a process, or looked at again after some time.
In dev mode it is looked at whenever it is asked for, and hashed when it looks different.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass

from django.conf import settings

from cachelayers.conf import package_settings
from cachelayers.exceptions import StaticFileError
from cachelayers.hashing.files import Digest, File, Stamp
from cachelayers.hashing.markers import report
from cachelayers.hashing.memo import memo
from cachelayers.hashing.names import read_reference
from cachelayers.hashing.places import Source, folder_source, site_source
from cachelayers.hashing.shared import SharedDigest

logger = logging.getLogger("cachelayers.hashing")

Folder = str | os.PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How files are looked at."""

    dev_mode: bool
    recheck_seconds: float | None
    is_logged: bool


def choose_manner(dev_mode: bool | None = None, is_logged: bool | None = None) -> Manner:
    """Return what was asked for, or what the settings say where it is None."""
    chosen = package_settings()
    if dev_mode is None:
        dev_mode = settings.DEBUG if chosen.STATIC_DEV_MODE is None else chosen.STATIC_DEV_MODE
    return Manner(
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
    manner = choose_manner(dev_mode, log_hash_operations)
    try:
        return digest_of_given(filename, source_for(folder_path), manner).cache_id
    except StaticFileError as error:
        report(error, dev_mode=manner.dev_mode)
        return error.marker


def build_integrity(filename: object) -> str:
    """Return ``sha384-...``, or nothing: a wrong value would keep browsers from using the file."""
    manner = choose_manner()
    try:
        return digest_of_given(filename, site_source(), manner).integrity
    except StaticFileError as error:
        report(error, dev_mode=manner.dev_mode)
        return ""


def source_for(folder_path: Folder | None) -> Source:
    """Return where to look: in a folder, or where the site has its static files."""
    return site_source() if folder_path is None else folder_source(folder_path)


def digest_of_given(given: object, source: Source, manner: Manner) -> Digest:
    """Return the digest of what a template names."""
    return locate(read_reference(given).names, source, manner)[1]


def locate(names: tuple[str, ...], source: Source, manner: Manner) -> tuple[str, Digest]:
    """Return address and digest of the first spelling of a name that there is."""
    first_error: StaticFileError | None = None
    for name in names:
        try:
            return locate_one(name, source, manner)
        except StaticFileError as error:
            first_error = first_error or error
    assert first_error is not None  # noqa: S101 - there is a name at least
    raise first_error


def locate_one(name: str, source: Source, manner: Manner) -> tuple[str, Digest]:
    """Return address and digest of one name."""
    address = source.address(name)
    return address, digest_of(source.served_name(name, address), source, manner)


def digest_of(name: str, source: Source, manner: Manner) -> Digest:
    """Return the digest of the file of this name; raise StaticFileError where there is none."""
    key = source.scope, name
    known = memo.get(key)
    if known is not None and not known.is_older_than(manner.recheck_seconds):
        return known.digest
    file = source.find(name, dev_mode=manner.dev_mode)
    stamp = file.stamp()
    if known is not None and stamp is not None and known.stamp == stamp:
        memo.keep(key, known.digest, stamp)
        return known.digest
    shared = None if stamp is None else SharedDigest(*key, stamp)
    digest = shared.read() if shared else None
    if digest is None:
        digest, stamp = hash_file(file, name, manner)
        if stamp is not None:
            SharedDigest(*key, stamp).write(digest)
    memo.keep(key, digest, stamp)
    return digest


def hash_file(file: File, name: str, manner: Manner) -> tuple[Digest, Stamp | None]:
    """Read the file, and say so where that is wanted."""
    began = time.perf_counter()
    digest, stamp = file.hash()
    if manner.is_logged:
        taken = (time.perf_counter() - began) * 1000
        logger.info("Hashed %r in %.1f ms: %s", name, taken, digest.cache_id)
    return digest, stamp
