"""Find CSRF tokens in a value: a token belongs to one visitor, so the value must not be stored.

The flow and fragments search computed values.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from typing import Any

from django.middleware.csrf import CSRF_SECRET_LENGTH, CSRF_TOKEN_LENGTH

FORM_FIELD = "csrfmiddlewaretoken"  # the form's field for the token
TOKEN_CHARACTERS = string.ascii_letters + string.digits
NUMBERS = {letter: number for number, letter in enumerate(TOKEN_CHARACTERS)}
# A token may stand beside other letters. A longer run is data, such as an encoded image.
LONGEST_RUN = 1_000
RUN = re.compile(
    rf"(?<![0-9A-Za-z])[0-9A-Za-z]{{{CSRF_TOKEN_LENGTH},{LONGEST_RUN}}}(?![0-9A-Za-z])"
)
DEEPEST = 4  # nested containers that are searched


def shows_token(value: object, request: Any) -> bool:
    """Return whether a value contains a token. ``request``: the one that is answered."""
    secret = getattr(request, "__dict__", {}).get("META", {}).get("CSRF_COOKIE")
    return any(has_form_field(text) or has_token_of(text, secret) for text in texts_in(value))


def texts_in(value: object, depth: int = 0) -> Iterator[str]:
    """Yield the strings in plain containers."""
    if isinstance(value, str):
        yield value
    elif depth < DEEPEST and type(value) in (list, tuple, dict):
        parts: Any = value.values() if isinstance(value, dict) else value
        for part in parts:
            yield from texts_in(part, depth + 1)


def has_form_field(text: str) -> bool:
    """Return whether a text contains the form field of a token."""
    return FORM_FIELD in text


def has_token_of(text: str, secret: object) -> bool:
    """Return whether a text contains a token of a secret. Each token of a secret is different."""
    if not isinstance(secret, str) or len(secret) != CSRF_SECRET_LENGTH:
        return False
    return secret in text or any(has_token_within(secret, run) for run in RUN.findall(text))


def has_token_within(secret: str, run: str) -> bool:
    """Return whether a run of letters contains a token."""
    first = NUMBERS.get(secret[0], 0)
    return any(
        # The first letter alone excludes nearly all positions.
        (NUMBERS[run[start]] + first - NUMBERS[run[start + CSRF_SECRET_LENGTH]])
        % len(TOKEN_CHARACTERS)
        == 0
        and is_made_of(secret, run[start : start + CSRF_TOKEN_LENGTH])
        for start in range(len(run) - CSRF_TOKEN_LENGTH + 1)
    )


def is_made_of(secret: str, token: str) -> bool:
    """Return whether a token belongs to a secret: its halves are a mask and the masked secret.

    This is the algorithm of django.middleware.csrf.
    """
    return all(
        NUMBERS[of_mask] + NUMBERS[letter] - NUMBERS[masked] in (0, len(TOKEN_CHARACTERS))
        for of_mask, letter, masked in zip(
            token[:CSRF_SECRET_LENGTH], secret, token[CSRF_SECRET_LENGTH:], strict=True
        )
    )
