"""Know the CSRF token in what was made: it is one visitor's, and good for one response only."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from typing import Any

from django.middleware.csrf import CSRF_SECRET_LENGTH, CSRF_TOKEN_LENGTH

FORM_FIELD = "csrfmiddlewaretoken"  # in which a form sends its token
TOKEN_CHARACTERS = string.ascii_letters + string.digits
NUMBERS = {letter: number for number, letter in enumerate(TOKEN_CHARACTERS)}
# A token may stand beside other letters. A longer run is data, such as an image written as text.
LONGEST_RUN = 1_000
RUN = re.compile(
    rf"(?<![0-9A-Za-z])[0-9A-Za-z]{{{CSRF_TOKEN_LENGTH},{LONGEST_RUN}}}(?![0-9A-Za-z])"
)
DEEPEST = 4  # containers in one another that texts are looked for in


def shows_token(value: object, request: Any) -> bool:
    """Tell whether a value has a text with a token; ``request``: the one that is answered."""
    secret = getattr(request, "__dict__", {}).get("META", {}).get("CSRF_COOKIE")
    return any(has_form_field(text) or has_token_of(text, secret) for text in texts_in(value))


def texts_in(value: object, depth: int = 0) -> Iterator[str]:
    """Yield the texts in plain containers."""
    if isinstance(value, str):
        yield value
    elif depth < DEEPEST and type(value) in (list, tuple, dict):
        parts: Any = value.values() if isinstance(value, dict) else value
        for part in parts:
            yield from texts_in(part, depth + 1)


def has_form_field(text: str) -> bool:
    """Tell whether a text has the field in which a form sends its token."""
    return FORM_FIELD in text


def has_token_of(text: str, secret: object) -> bool:
    """Tell whether a text holds a token of a secret, which is another one each time it is made."""
    if not isinstance(secret, str) or len(secret) != CSRF_SECRET_LENGTH:
        return False
    return secret in text or any(has_token_within(secret, run) for run in RUN.findall(text))


def has_token_within(secret: str, run: str) -> bool:
    """Tell whether a token stands somewhere among letters."""
    first = NUMBERS.get(secret[0], 0)
    return any(
        # By the first letter alone in nearly all places: there may be many.
        (NUMBERS[run[start]] + first - NUMBERS[run[start + CSRF_SECRET_LENGTH]])
        % len(TOKEN_CHARACTERS)
        == 0
        and is_made_of(secret, run[start : start + CSRF_TOKEN_LENGTH])
        for start in range(len(run) - CSRF_TOKEN_LENGTH + 1)
    )


def is_made_of(secret: str, token: str) -> bool:
    """Tell whether a token is made of a secret: its halves are a mask and the masked secret.

    As django.middleware.csrf makes it.
    """
    return all(
        NUMBERS[of_mask] + NUMBERS[letter] - NUMBERS[masked] in (0, len(TOKEN_CHARACTERS))
        for of_mask, letter, masked in zip(
            token[:CSRF_SECRET_LENGTH], secret, token[CSRF_SECRET_LENGTH:], strict=True
        )
    )
