"""Pack a value into the columns of its row, and unpack it: serialise, compress, sign.

The database backend calls it. See `Kind` for the stored formats.
"""

from __future__ import annotations

import hmac
import importlib
import json
import pickle
import zlib
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final, NamedTuple, Protocol, cast

from django.conf import settings
from django.utils.module_loading import import_string

# The largest value that is compressed, and the limit for decompressed bytes: a row of 64 KB may
# claim to be a thousand times as large.
LARGEST_BYTES = 64 * 2**20


class TooLarge(ValueError):
    """Decompressed bytes would exceed the limit."""


class Compression(NamedTuple):
    """A pair of functions from bytes to bytes.

    ``decompress`` also takes the largest number of bytes to return, and raises TooLarge for more.
    """

    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes, int], bytes]


def load_compression(name: str) -> Compression:
    """Return the compression called ``name``. Raise ImportError if its library is missing."""
    if name == "zstd":
        zstd = load_zstd()
        return Compression(zstd.compress, decompressing_by(zstd.ZstdDecompressor))
    # Level 1: HTML shrinks to a fifth, in a third of the default level's time.
    return Compression(lambda data: zlib.compress(data, 1), decompressing_by(zlib.decompressobj))


def load_zstd() -> Any:
    """Return Zstandard from the standard library (Python 3.14) or from its backport."""
    try:
        return importlib.import_module("compression.zstd")
    except ImportError:
        return importlib.import_module("backports.zstd")


def decompressing_by(make_decompressor: Callable[[], Any]) -> Callable[[bytes, int], bytes]:
    """Return a bounded function for a library's decompressor."""

    def decompress(data: bytes, largest: int) -> bytes:
        decompressor = make_decompressor()
        plain: bytes = decompressor.decompress(data, largest + 1)
        if len(plain) > largest:
            raise TooLarge(f"it is larger than {largest} bytes")
        if not decompressor.eof:
            raise EOFError("it is cut off")
        return plain

    return decompress


class Serializer(Protocol):
    """The interface of the SERIALIZER option: an object, or a class that takes no arguments."""

    def dumps(self, value: Any, /) -> bytes:
        """Return ``value`` as bytes, or raise any exception."""

    def loads(self, data: bytes, /) -> Any:
        """Return the value from the bytes that ``dumps`` has returned."""


class PickleSerializer:
    """Stores any Python object. The default, as in every Django backend."""

    def dumps(self, value: Any, /) -> bytes:
        """Return the pickle of ``value`` in the newest protocol."""
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    # Not wrapped. The data must come from a database that only trusted code writes, or carry a
    # signature: SIGNED and SERIALIZER are the user's choice.
    loads = staticmethod(pickle.loads)


class JsonSerializer:
    """Stores what JSON can represent. Values that JSON would change, as tuples, are an error."""

    def dumps(self, value: Any, /) -> bytes:
        """Return compact JSON. Raise TypeError for a value that would be loaded as another one."""
        refuse_what_json_changes(value)
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(
            "utf-8", "surrogatepass"
        )

    def loads(self, data: bytes, /) -> Any:
        return json.loads(data.decode("utf-8", "surrogatepass"))


def refuse_what_json_changes(value: Any) -> None:
    """Raise TypeError for a value that json would silently change."""
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(
                    f"SERIALIZER 'json' cannot store the dictionary key {key!r}: JSON would turn it"
                    " into a string. Use string keys, or SERIALIZER 'pickle'."
                )
            refuse_what_json_changes(item)
    elif isinstance(value, list):
        for item in value:
            refuse_what_json_changes(item)
    elif value is not None and type(value) not in (str, int, float, bool):
        raise TypeError(
            f"SERIALIZER 'json' cannot store a {type(value).__name__} as it is: {value!r:.80}."
            " Convert it first, or use SERIALIZER 'pickle'."
        )


BUILT_IN: dict[str, Serializer] = {"pickle": PickleSerializer(), "json": JsonSerializer()}


def load_serializer(name: str) -> Serializer:
    """Return the serializer called ``name``: a built-in one, or a dotted path.

    Raises ImportError if the path cannot be imported, and TypeError if it is not a serializer.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    found = import_string(name)
    serializer = found() if isinstance(found, type) else found
    for method in ("dumps", "loads"):
        if not callable(getattr(serializer, method, None)):
            raise TypeError(f"{name} has no {method}() method")
    return cast(Serializer, serializer)


SIGNATURE_BYTES = 32
# Signatures of version 1 did not cover the expiry, and are not accepted.
PURPOSE = b"cachelayers.entries.values:2"


def sign(key: bytes, message: bytes) -> bytes:
    """Return ``message`` behind a signature that is valid only for the entry ``key``.

    The signature covers the key, so a row's value cannot be moved to another row.
    """
    return signature(settings.SECRET_KEY, key, message) + message


def unsign(key: bytes, signed: bytes) -> bytes | None:
    """Return the message, or None if the signature is not valid.

    SECRET_KEY_FALLBACKS are accepted too, so that a rotated secret does not empty the cache.
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
    # The key's length comes first: otherwise bytes could move from the key's end to the value's
    # start.
    return hmac.digest(derived, len(key).to_bytes(4, "big") + key + message, "sha256")


SMALLEST_INT64, LARGEST_INT64 = -(2**63), 2**63 - 1


class Kind:
    """The low four bits of a row's format: what the bytes are. Stored; never renumber.

    These are plain numbers: comparing with a member of an IntEnum takes as long as hashing a key.
    """

    INT: Final = 0
    BYTES: Final = 1
    STR: Final = 2
    PICKLE: Final = 3
    JSON: Final = 4
    CUSTOM: Final = 5
    # Signed entries only: a number in digits, because the number column has no signature.
    DIGITS: Final = 6


KIND_MASK = 0x0F
ZLIB = 0x10
ZSTD = 0x20
SIGNED = 0x40
COMPRESSION_FLAGS = {"zlib": ZLIB, "zstd": ZSTD}
COMPRESSION_NAMES = {flag: name for name, flag in COMPRESSION_FLAGS.items()}
SERIALIZER_KINDS: dict[str, int] = {"pickle": Kind.PICKLE, "json": Kind.JSON}


class PackedValue(NamedTuple):
    """A value as its row holds it, in ``number`` or in ``data``; ``format`` says how."""

    format: int
    number: int | None
    data: bytes | None


class Undecodable(Exception):
    """A stored value cannot be verified or decoded. The text says why."""


class ValuePacker:
    """Packs by the options of one cache, and unpacks what any options have packed.

    There is one exception: it does not decode entries of a serializer other than the configured
    one, nor unsigned entries if SIGNED is on. A database that is not trusted with pickles must not
    be able to bring one in.
    """

    def __init__(
        self, *, serializer: str, compression: str | None, compression_min_bytes: int, signed: bool
    ) -> None:
        """Raises ImportError or TypeError for a name that does not lead to a serializer."""
        self.serializer: Serializer = load_serializer(serializer)
        self.serializer_kind = SERIALIZER_KINDS.get(serializer, Kind.CUSTOM)
        self.compression_flag = COMPRESSION_FLAGS[compression] if compression else 0
        self.compress = load_compression(compression).compress if compression else None
        self.compression_min_bytes = compression_min_bytes
        self.signed = signed
        self._loads = self.serializer.loads
        self._decompressions: dict[int, Compression] = {}

    def pack(self, key: bytes, value: Any, expires: int) -> PackedValue:
        """Return the columns for ``value`` under ``key``. The serializer may raise.

        ``expires``: of its row, in milliseconds. A signature is valid only with it.
        """
        # type(), not isinstance(): a bool or a SafeString must be loaded as what it was.
        if type(value) is int and SMALLEST_INT64 <= value <= LARGEST_INT64:
            if not self.signed:
                return PackedValue(Kind.INT, value, None)
            form, data = int(Kind.DIGITS), b"%d" % value
        else:
            form, data = self.to_bytes(value)
        if self.compress is not None and self.compression_min_bytes <= len(data) <= LARGEST_BYTES:
            smaller = self.compress(data)
            if len(smaller) < len(data):
                form, data = form | self.compression_flag, smaller
        if self.signed:
            form |= SIGNED
            data = sign(signed_with(key, expires, form), data)
        return PackedValue(form, None, data)

    def to_bytes(self, value: Any) -> tuple[int, bytes]:
        """Return the kind of ``value`` and its plain bytes."""
        if type(value) is str:
            try:
                return Kind.STR, value.encode()
            except UnicodeEncodeError:  # a lone surrogate, which a pickle can hold
                return self.serializer_kind, self.serializer.dumps(value)
        if type(value) is bytes:
            return Kind.BYTES, value
        return self.serializer_kind, self.serializer.dumps(value)

    def unpack(
        self, key: bytes, expires: int, form: int, number: int | None, data: bytes | None
    ) -> Any:
        """Return the value of a row. Raise Undecodable if it cannot be decoded or verified."""
        if self.signed or form > KIND_MASK:
            data = self.decompressed(form, self.verified(key, expires, form, data))
            form &= KIND_MASK
        elif form == Kind.INT and number is not None:
            return number
        if data is None:
            raise Undecodable("it has neither a number nor bytes")
        return self.from_bytes(form, data)

    def verified(self, key: bytes, expires: int, form: int, data: bytes | None) -> bytes:
        """Return ``data`` without its signature, which is checked if there is one."""
        if not form & SIGNED and self.signed:
            raise Undecodable("it carries no signature, and SIGNED is on")
        if data is None:
            raise Undecodable("it has a format of bytes, and there are none")
        data = bytes(data)  # psycopg 2 returns a memoryview; bytes are not copied
        if not form & SIGNED:
            return data
        message = unsign(signed_with(key, expires, form), data)
        if message is None:
            raise Undecodable("its signature does not match")
        return message

    def prolonged(
        self, key: bytes, expires: int, form: int, data: bytes | None, new_expires: int
    ) -> bytes:
        """Return the bytes of a signed row with a signature for another expiry."""
        message = self.verified(key, expires, form, data)
        return sign(signed_with(key, new_expires, form), message)

    def decompressed(self, form: int, data: bytes, largest: int = LARGEST_BYTES) -> bytes:
        """Return ``data`` as it was before compression, if it is not too large."""
        flag = form & (ZLIB | ZSTD)
        if not flag:
            return data
        try:
            if flag not in self._decompressions:
                self._decompressions[flag] = load_compression(COMPRESSION_NAMES[flag])
            return self._decompressions[flag].decompress(data, largest)
        except Exception as error:  # zlib.error, ZstdError, ImportError, EOFError, KeyError ...
            raise Undecodable(f"decompression failed: {error!r}") from error

    def from_bytes(self, kind: int, data: bytes) -> Any:
        """Return the value of plain bytes."""
        try:
            if kind == self.serializer_kind:
                return self._loads(data)
            if kind == Kind.STR:
                return str(data, "utf-8")
            if kind == Kind.BYTES:
                return bytes(data)  # psycopg 2 returns a memoryview; bytes are not copied
            if kind == Kind.DIGITS:
                return int(data)
        except Exception as error:  # unpickling runs the class's code, which may raise anything
            raise Undecodable(f"decoding failed: {error!r}") from error
        raise Undecodable(f"it was stored as kind {kind}, not by the SERIALIZER of this cache")


def signed_with(key: bytes, expires: int, form: int) -> bytes:
    """Return what the signature of a value covers besides its bytes.

    With the expiry, an old value cannot be made to live longer. With the format, one flipped bit
    cannot turn text into a pickle.
    """
    return key + expires.to_bytes(8, "big", signed=True) + form.to_bytes(2, "big", signed=True)
