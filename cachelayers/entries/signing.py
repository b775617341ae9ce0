"""Put a signature before bytes and check it. Called by values; touches no database."""

from __future__ import annotations

import hmac
from hashlib import sha256

from django.conf import settings

SIGNATURE_BYTES = 32
# Signatures of version 1 did not cover the expiry: none of them is accepted.
PURPOSE = b"cachelayers.entries.signing:2"


def sign(key: bytes, message: bytes) -> bytes:
    """Return ``message`` behind a signature that holds for the entry ``key`` alone.

    The key is part of what is signed, so a row's value cannot be moved to another row.
    """
    return signature(settings.SECRET_KEY, key, message) + message


def unsign(key: bytes, signed: bytes) -> bytes | None:
    """Return the message, or None when its signature is not ours.

    SECRET_KEY_FALLBACKS count too, so that a rotated secret does not empty the cache.
    """
    found, message = signed[:SIGNATURE_BYTES], signed[SIGNATURE_BYTES:]
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        if hmac.compare_digest(found, signature(secret, key, message)):
            return message
    return None


def signature(secret: str | bytes, key: bytes, message: bytes) -> bytes:
    """Return HMAC-SHA256 over key and message, under a secret derived for this purpose only."""
    secret_bytes = secret.encode() if isinstance(secret, str) else secret
    derived = sha256(PURPOSE + b"\0" + secret_bytes).digest()
    # The key's length comes first, or bytes could wander from the key's end to the value's start.
    return hmac.digest(derived, len(key).to_bytes(4, "big") + key + message, "sha256")
