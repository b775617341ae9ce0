"""Text for people without passwords and other secrets.

Messages, logs, commands and the admin use it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from django.conf import settings

from cachelayers.locations import (
    MASK,
    NEXT_ADDRESS,
    SECRET_IN_QUERY,
    SECRET_NAME,
    parse_address,
    without_password,
)

SHORTEST_SECRET = 3  # shorter ones occur in any text
# Clients may take these characters for the end of the host, although the password goes on.
ENDS_OF_HOST = re.compile(r"[/?#@]")
USER_OF_ANY_URL = re.compile(r"(?<=://)[^\s/@]+(?=@)")


def shown_location(alias: str) -> str:
    """Return the LOCATION of an alias of CACHES without passwords."""
    return ", ".join(without_password(each) for each in locations_of(alias))


def locations_of(alias: str) -> list[str]:
    """Return every address in the LOCATION of an alias."""
    location = settings.CACHES[alias].get("LOCATION", "")
    locations = location if isinstance(location, list | tuple | set) else [location]
    return [address for each in locations for address in NEXT_ADDRESS.split(str(each))]


def without_secrets(text: str) -> str:
    """Return a text, such as a client's error, without the passwords of the settings."""
    for secret in sorted(set(secrets_of_settings()), key=len, reverse=True):
        text = text.replace(secret, MASK)
    # Addresses that are not in the settings, such as a queue's broker.
    return USER_OF_ANY_URL.sub(MASK, text)


def secrets_of_settings() -> Iterator[str]:
    """Yield every password in CACHES and DATABASES, as written and decoded."""
    for alias, config in settings.CACHES.items():
        yield from secrets_in(config)
        for address in locations_of(alias):
            yield from secrets_of_address(address)
    yield from secrets_in(dict(settings.DATABASES))


def secrets_of_address(address: str) -> Iterator[str]:
    """Yield the passwords in one address, and the parts that a client may take for a host."""
    for found in SECRET_IN_QUERY.finditer(address):
        yield from _forms(found["secret"])
    password = parse_address(address).user.partition(":")[2]
    for part in {password, *ENDS_OF_HOST.split(password)}:
        yield from _forms(part)


def secrets_in(options: Any, *, is_secret: bool = False) -> Iterator[str]:
    """Yield the values in nested options whose names say that they are secret."""
    if isinstance(options, Mapping):
        for name, value in options.items():
            yield from secrets_in(value, is_secret=bool(SECRET_NAME.search(str(name))))
    elif isinstance(options, list | tuple):
        for each in options:
            yield from secrets_in(each, is_secret=is_secret)
    elif is_secret and isinstance(options, bytes):
        yield from _forms(options.decode(errors="replace"))
    elif is_secret and isinstance(options, str | int):
        yield from _forms(str(options))


def _forms(secret: str) -> Iterator[str]:
    for form in (secret, unquote(secret)):
        if len(form) >= SHORTEST_SECRET:
            yield form
