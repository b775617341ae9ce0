"""Pack a value into the columns of its row, and unpack it. Touches no database.

``int``, ``str`` and ``bytes`` are stored as they are, so that the database can add to a number and
a fragment of HTML is not pickled; everything else goes through a serializer.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from cachelayers.entries import signing
from cachelayers.entries.compression import LARGEST_BYTES, Compression, load_compression
from cachelayers.entries.serializers import Serializer, load_serializer

SMALLEST_INT64, LARGEST_INT64 = -(2**63), 2**63 - 1


class Kind:
    """The low four bits of a row's format: what the bytes are. Stored; never renumber.

    Plain numbers: comparing with a member of an IntEnum takes as long as hashing a key.
    """

    INT: Final = 0
    BYTES: Final = 1
    STR: Final = 2
    PICKLE: Final = 3
    JSON: Final = 4
    CUSTOM: Final = 5
    # Signed entries only: a number in digits, because the number column carries no signature.
    DIGITS: Final = 6


KIND_MASK = 0x0F
ZLIB = 0x10
ZSTD = 0x20
SIGNED = 0x40
COMPRESSION_FLAGS = {"zlib": ZLIB, "zstd": ZSTD}
COMPRESSION_NAMES = {flag: name for name, flag in COMPRESSION_FLAGS.items()}
SERIALIZER_KINDS: dict[str, int] = {"pickle": Kind.PICKLE, "json": Kind.JSON}


class Packed(NamedTuple):
    """A value as its row holds it: either ``number`` or ``data`` is used, ``format`` says how."""

    format: int
    number: int | None
    data: bytes | None


class Undecodable(Exception):
    """A stored value that cannot be verified or decoded; the text says why."""


class ValuePacker:
    """Packs by the options of one cache; unpacks whatever any options have packed.

    The one exception is deliberate: entries of a serializer other than the configured one, and
    unsigned entries where signatures are asked for, are not decoded, because a database that is
    not trusted with pickles must not be able to bring one in.
    """

    def __init__(
        self, *, serializer: str, compression: str | None, compression_min_bytes: int, signed: bool
    ) -> None:
        """Resolve the names once; ImportError and TypeError say which one leads nowhere."""
        self.serializer: Serializer = load_serializer(serializer)
        self.serializer_kind = SERIALIZER_KINDS.get(serializer, Kind.CUSTOM)
        self.compression_flag = COMPRESSION_FLAGS[compression] if compression else 0
        self.compress = load_compression(compression).compress if compression else None
        self.compression_min_bytes = compression_min_bytes
        self.signed = signed
        self._loads = self.serializer.loads
        self._decompressions: dict[int, Compression] = {}

    def pack(self, key: bytes, value: Any, expires: int) -> Packed:
        """Return the columns for ``value`` under ``key``; raise what the serializer raises.

        ``expires``: of its row, in milliseconds; a signature holds for it alone.
        """
        # type(), not isinstance(): a bool or a SafeString must come back as what it was.
        if type(value) is int and SMALLEST_INT64 <= value <= LARGEST_INT64:
            if not self.signed:
                return Packed(Kind.INT, value, None)
            form, data = int(Kind.DIGITS), b"%d" % value
        else:
            form, data = self.to_bytes(value)
        if self.compress is not None and self.compression_min_bytes <= len(data) <= LARGEST_BYTES:
            smaller = self.compress(data)
            if len(smaller) < len(data):
                form, data = form | self.compression_flag, smaller
        if self.signed:
            form |= SIGNED
            data = signing.sign(signed_with(key, expires, form), data)
        return Packed(form, None, data)

    def to_bytes(self, value: Any) -> tuple[int, bytes]:
        """Return the kind of ``value`` and its plain bytes."""
        if type(value) is str:
            try:
                return Kind.STR, value.encode()
            except UnicodeEncodeError:  # a lone surrogate: a pickle takes it
                return self.serializer_kind, self.serializer.dumps(value)
        if type(value) is bytes:
            return Kind.BYTES, value
        return self.serializer_kind, self.serializer.dumps(value)

    def unpack(
        self, key: bytes, expires: int, form: int, number: int | None, data: bytes | None
    ) -> Any:
        """Return the value of a row; raise Undecodable where it cannot be had or trusted."""
        if self.signed or form > KIND_MASK:
            data = self.decompressed(form, self.verified(key, expires, form, data))
            form &= KIND_MASK
        elif form == Kind.INT and number is not None:
            return number
        if data is None:
            raise Undecodable("it has neither a number nor bytes")
        return self.from_bytes(form, data)

    def verified(self, key: bytes, expires: int, form: int, data: bytes | None) -> bytes:
        """Return ``data`` without its signature, which is checked wherever there is one."""
        if not form & SIGNED and self.signed:
            raise Undecodable("it carries no signature, and SIGNED is on")
        if data is None:
            raise Undecodable("it has a format of bytes, and none are there")
        data = bytes(data)  # psycopg 2 gives a memoryview; for bytes this copies nothing
        if not form & SIGNED:
            return data
        message = signing.unsign(signed_with(key, expires, form), data)
        if message is None:
            raise Undecodable("its signature does not match")
        return message

    def prolonged(
        self, key: bytes, expires: int, form: int, data: bytes | None, new_expires: int
    ) -> bytes:
        """Return the bytes of a signed row with a signature for another expiry."""
        message = self.verified(key, expires, form, data)
        return signing.sign(signed_with(key, new_expires, form), message)

    def decompressed(self, form: int, data: bytes, largest: int = LARGEST_BYTES) -> bytes:
        """Return ``data`` as it was before compression, if that is not too large."""
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
                return bytes(data)  # of a memoryview of psycopg 2; bytes are not copied
            if kind == Kind.DIGITS:
                return int(data)
        except Exception as error:  # unpickling runs the class's code: it may raise anything
            raise Undecodable(f"decoding failed: {error!r}") from error
        raise Undecodable(f"it was stored as kind {kind}, not by the SERIALIZER of this cache")


def signed_with(key: bytes, expires: int, form: int) -> bytes:
    """Return what the signature of a value covers besides its bytes.

    The expiry: else an old value could be made to live longer. The format: else one flipped bit
    would turn text into a pickle.
    """
    return key + expires.to_bytes(8, "big", signed=True) + form.to_bytes(2, "big", signed=True)
