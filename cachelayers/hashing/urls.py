"""Put the id of a static file into its URL. Used by templates and storages."""

from __future__ import annotations

from urllib.parse import quote, unquote_plus

from django.core.files.storage import Storage

from cachelayers.exceptions import StaticFileError
from cachelayers.hashing.ids import Manner, choose_manner, digest_of, locate
from cachelayers.hashing.markers import report
from cachelayers.hashing.names import (
    Reference,
    as_text,
    clean_name,
    is_foreign,
    read_reference,
    split_parts,
)
from cachelayers.hashing.places import Source, plain_address, site_source, source_of

PARAMETER = "cache_id"


def build_hashed_url(given: object, storage: Storage | None = None) -> str:
    """Return the URL of a static file with its id; URLs of others as they are.

    ``storage``: where it is, None for that of the site. Raises StaticFileError in place of a marker
    where CACHELAYERS["STRICT"] is true.
    """
    if is_foreign(given):
        return as_text(given)
    source = site_source() if storage is None else source_of(storage)
    manner = choose_manner()
    try:
        reference = read_reference(given)
    except StaticFileError as error:
        report(error, dev_mode=manner.dev_mode)
        # Encoded to the last letter: no browser follows it to another place.
        return with_id(
            plain_address("") + quote(as_text(given), safe="", errors="replace"), error.marker
        )
    return url_of(reference, source, manner)


def url_of(reference: Reference, source: Source, manner: Manner) -> str:
    """Return the URL with the id or a marker."""
    try:
        address, digest = locate(reference.names, source, manner)
        found = digest.cache_id
    except StaticFileError as error:
        report(error, dev_mode=manner.dev_mode)
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
    manner = choose_manner(is_logged=False)
    looking = Manner(dev_mode=manner.dev_mode, recheck_seconds=0, is_logged=False)
    try:
        return digest_of(clean_name(name, name), site_source(), looking).cache_id
    except StaticFileError:
        return None
