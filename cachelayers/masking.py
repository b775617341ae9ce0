"""Show where a cache is without the passwords that its settings hold. The lowest floor."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from django.conf import settings

MASK = "***"
SHORTEST_SECRET = 3  # shorter ones would be found in any text
# A value in a URL's query, or an option, that is nobody's business.
SECRET_NAME = re.compile(r"pass|pwd|secret|token|auth|credential", re.IGNORECASE)
USER_BEFORE_HOST = re.compile(r"^[^@/\\]*@")


def shown_location(alias: str) -> str:
    """Return the LOCATION of an alias of CACHES without passwords."""
    return ", ".join(without_password(each) for each in locations_of(alias))


def locations_of(alias: str) -> list[str]:
    """Return every address in the LOCATION of an alias."""
    location = settings.CACHES[alias].get("LOCATION", "")
    return (
        [str(each) for each in location] if isinstance(location, list | tuple) else [str(location)]
    )


def without_password(location: str) -> str:
    """Return an address with the user and the password, and what its query keeps, masked."""
    parts = urlsplit(location)
    if not parts.netloc:
        return USER_BEFORE_HOST.sub(f"{MASK}@", location)
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{MASK}@{host}" if host != parts.netloc else host
    return urlunsplit(parts._replace(netloc=netloc, query=masked_query(parts.query)))


def masked_query(query: str) -> str:
    """Return a URL's query with the values masked whose names tell that they are secret."""
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    return "&".join(
        f"{name}={MASK}" if SECRET_NAME.search(name) else f"{name}{equals}{value}"
        for name, equals, value in pairs
    )


def without_secrets(text: str) -> str:
    """Return a text, such as a client's error, in which no password of the settings stands."""
    for secret in sorted(set(secrets_of_settings()), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def secrets_of_settings() -> Iterator[str]:
    """Yield every password in CACHES and DATABASES, as it is written there and decoded."""
    for alias, config in settings.CACHES.items():
        yield from secrets_in(config.get("OPTIONS", {}))
        for location in locations_of(alias):
            parts = urlsplit(location)
            user_and_password = parts.netloc.rpartition("@")[0] or _before_host(location)
            yield from _forms(user_and_password.partition(":")[2])
            for name, _, value in (pair.partition("=") for pair in parts.query.split("&")):
                if SECRET_NAME.search(name):
                    yield from _forms(value)
    for config in settings.DATABASES.values():
        yield from _forms(str(config.get("PASSWORD") or ""))


def secrets_in(options: Any) -> Iterator[str]:
    """Yield the texts in nested options whose names tell that they are secret."""
    if not isinstance(options, dict):
        return
    for name, value in options.items():
        if isinstance(value, dict):
            yield from secrets_in(value)
        elif isinstance(value, str) and SECRET_NAME.search(str(name)):
            yield from _forms(value)


def _before_host(location: str) -> str:
    found = USER_BEFORE_HOST.match(location)
    return found[0].removesuffix("@") if found else ""


def _forms(secret: str) -> Iterator[str]:
    for form in (secret, unquote(secret)):
        if len(form) >= SHORTEST_SECRET:
            yield form
