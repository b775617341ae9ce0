"""Turn Python objects into bytes and back. Called by values; touches no database."""

from __future__ import annotations

import json
import pickle
from typing import Any, Protocol, cast

from django.utils.module_loading import import_string


class Serializer(Protocol):
    """What the SERIALIZER option names: an object, or a class without arguments, with these two."""

    def dumps(self, value: Any, /) -> bytes:
        """Return ``value`` as bytes; raise whatever says why it cannot."""

    def loads(self, data: bytes, /) -> Any:
        """Return what ``dumps`` was given."""


class PickleSerializer:
    """Any Python object. The default, as in every Django backend."""

    def dumps(self, value: Any, /) -> bytes:
        """Return the pickle of ``value`` in the newest protocol."""
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    # As it is, not wrapped. What it reads must come from a database that only trusted code writes,
    # or carry a signature: SIGNED and SERIALIZER are the user's choice.
    loads = staticmethod(pickle.loads)


class JsonSerializer:
    """What JSON knows, and nothing that it would change: a tuple or a date is an error."""

    def dumps(self, value: Any, /) -> bytes:
        """Return compact JSON; raise TypeError for what would come back as something else."""
        refuse_what_json_changes(value)
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(
            "utf-8", "surrogatepass"
        )

    def loads(self, data: bytes, /) -> Any:
        """Parse ``data``."""
        return json.loads(data.decode("utf-8", "surrogatepass"))


def refuse_what_json_changes(value: Any) -> None:
    """Raise TypeError where json would silently store something else than ``value``."""
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
    """Return the serializer that ``name`` means: a built-in one, or a dotted path.

    Raises ImportError when the path leads nowhere and TypeError when what is there is none.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    found = import_string(name)
    serializer = found() if isinstance(found, type) else found
    for method in ("dumps", "loads"):
        if not callable(getattr(serializer, method, None)):
            raise TypeError(f"{name} has no {method}() method")
    return cast(Serializer, serializer)
