"""The settings of a LayeredCache and their validation.

Called by the cache and by the system checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from cachelayers.backends.base import Problem, find_common_problems, is_number, is_whole
from cachelayers.backends.database.options import find_location_problems as find_table_problems
from cachelayers.backends.database.options import unmet_demand as unmet_table_demand
from cachelayers.backends.kinds import layer_class_of
from cachelayers.backends.layered.layers.redis import RedisLayer
from cachelayers.conf import LOG_AS_BUS, backend_of
from cachelayers.durations import HOW_TO_WRITE, as_seconds
from cachelayers.implied_layers import TABLE_OPTIONS, locations_in, missing_client, name_of
from cachelayers.locations import Kind, location_of, without_password

WITHOUT_BUS_SECONDS = 5.0
WITH_BUS_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class LayeredOptions:
    """The OPTIONS of a LayeredCache, with their defaults."""

    LAYERS: Sequence[str] = ()  # aliases of CACHES, the fastest first
    BUS: str | None = None  # an alias of a Redis, "log", or None
    # The longest time that a value stays in a process's memory before it is read again: 5 seconds
    # without a bus, and 60 with one, for a process that was killed between its write and its event.
    MEMORY_TIMEOUT: float | None = None
    # seconds for one call of a layer; also sets it on clients without limits
    TIME_LIMIT: float = 0.5
    MEMORY_MAX_BYTES: int | None = None  # of the memory above a LOCATION; None: MemoryCache's

    def __post_init__(self) -> None:
        """Convert durations to seconds."""
        for name in ("MEMORY_TIMEOUT", "TIME_LIMIT"):
            object.__setattr__(self, name, as_seconds(getattr(self, name)))

    @property
    def memory_seconds(self) -> float:
        """Return MEMORY_TIMEOUT, or its default."""
        if self.MEMORY_TIMEOUT is not None:
            return self.MEMORY_TIMEOUT
        return WITHOUT_BUS_SECONDS if self.BUS is None else WITH_BUS_SECONDS


def find_problems(
    where: str, backend: type, location: Any, params: Mapping[str, Any]
) -> Iterator[Problem]:
    """Yield the errors in the settings of one cache. ``where`` names the cache in messages.

    ``backend``: the class of LayeredCache, which must not be its own layer.
    """
    options = params.get("OPTIONS", {})
    misplaced: list[str] = []
    if isinstance(options, Mapping):
        misplaced = [name for name in options if is_misplaced(name, location)]
        yield from find_misplaced_options(where, location, misplaced)
        params = {**params, "OPTIONS": {k: v for k, v in options.items() if k not in misplaced}}
    known = {**LayeredOptions.__dataclass_fields__, **dict.fromkeys(TABLE_OPTIONS)}
    known = {name: field for name, field in known.items() if name not in misplaced}
    yield from find_common_problems(where, params, known, unmet_demand)
    if locations_in(location):
        yield from find_location_problems(where, locations_in(location))
    elif isinstance(options, Mapping):
        yield from find_layer_problems(where, backend, options.get("LAYERS", ()))
    if isinstance(options, Mapping):
        yield from find_bus_problems(where, options.get("BUS"))


def is_misplaced(name: Any, location: Any) -> bool:
    """Return whether no layer of this cache can have a known option."""
    if name == "LAYERS":
        return bool(locations_in(location))
    if name == "MEMORY_MAX_BYTES":
        return not locations_in(location)
    return name in TABLE_OPTIONS and not has_table(location)


def has_table(location: Any) -> bool:
    """Return whether any part of a LOCATION is a table."""
    found = (location_of(value) for value in locations_in(location))
    return any(one is not None and one.kind in {Kind.FILE, Kind.DATABASE} for one in found)


def find_misplaced_options(
    where: str, location: Any, misplaced: Sequence[str]
) -> Iterator[Problem]:
    """Yield an error for each option that belongs elsewhere."""
    for name in misplaced:
        if name == "LAYERS":
            yield Problem(
                "cachelayers.E003",
                f"{where} LOCATION is {without_password(str(location))!r}, and OPTIONS has LAYERS.",
                "Give one of them: LOCATION stands for layers of its own.",
            )
            continue
        place = "a table, and LOCATION names none" if locations_in(location) else "one layer"
        cure = "Put it into the OPTIONS of that layer's own alias in CACHES."
        if locations_in(location):
            cure = "Leave it out. MEMORY_MAX_BYTES limits the memory; a server has its own limit."
        yield Problem("cachelayers.E003", f"{where} OPTIONS {name} is an option of {place}.", cure)


def find_location_problems(where: str, locations: Sequence[Any]) -> Iterator[Problem]:
    """Yield the errors in the parts of LOCATION."""
    found = [location_of(value) for value in locations]
    for number, (value, location) in enumerate(zip(locations, found, strict=True)):
        shown = without_password(str(value))
        if location is None:
            yield Problem(
                "cachelayers.E047",
                f"{where} LOCATION names {shown!r}, which is no place for a layer.",
                f"Give {', '.join(kind.value for kind in Kind)}, or a list of these.",
            )
        elif name_of(location) in map(name_of, filter(None, found[:number])):
            yield Problem(
                "cachelayers.E047", f"{where} LOCATION names {shown!r} twice.", "Remove one."
            )
        elif extra := missing_client(location.kind):
            yield Problem(
                "cachelayers.E047",
                f"{where} LOCATION names {shown!r}, and no client for it is installed.",
                f"Install one with: pip install 'django-cachelayers[{extra}]'.",
            )
        elif location.kind in {Kind.FILE, Kind.DATABASE}:
            yield from find_table_problems(where, value)


def find_layer_problems(where: str, backend: type, layers: Any) -> Iterator[Problem]:
    """Yield the errors in LAYERS."""
    label = f"{where} OPTIONS LAYERS"
    if isinstance(layers, str) or not isinstance(layers, Sequence):
        yield Problem(
            "cachelayers.E012",
            f"{label} is {layers!r}, which is not a list.",
            "Give a list of aliases of CACHES, such as ['memory', 'redis'].",
        )
        return
    if len(layers) < 2:
        yield Problem(
            "cachelayers.E012",
            f"{label} is {list(layers)!r}.",
            "Name two aliases of CACHES or more; for one, use that cache itself. Or leave LAYERS"
            " out and give a LOCATION, such as BASE_DIR / 'cache.sqlite3'.",
        )
    for number, layer in enumerate(layers):
        if not isinstance(layer, str) or layer not in settings.CACHES:
            yield Problem(
                "cachelayers.E012",
                f"{label} lists {layer!r}, which is not in CACHES.",
                "Add it there, or remove it from LAYERS.",
            )
        elif layer in layers[:number]:
            yield Problem(
                "cachelayers.E012", f"{label} lists {layer!r} twice.", "Remove one of them."
            )
        elif contains(layer, where, backend):
            yield Problem(
                "cachelayers.E012",
                f"{label} lists {layer!r}, and so the cache contains itself.",
                "Remove it from LAYERS.",
            )
        elif is_layered(layer, backend):
            yield Problem(
                "cachelayers.E012",
                f"{label} lists {layer!r}, which is a LayeredCache.",
                "List its layers instead.",
            )


def contains(alias: str, where: str, backend: type, visited: frozenset[str] = frozenset()) -> bool:
    """Return whether a cache is the one called ``where``, or has it among its layers."""
    if f"CACHES[{alias!r}]" == where:
        return True
    if alias in visited or alias not in settings.CACHES or not is_layered(alias, backend):
        return False
    options = settings.CACHES[alias].get("OPTIONS", {})
    layers = options.get("LAYERS", ()) if isinstance(options, Mapping) else ()
    return not isinstance(layers, str) and any(
        contains(layer, where, backend, visited | {alias})
        for layer in layers
        if isinstance(layer, str)
    )


def is_layered(alias: str, backend: type) -> bool:
    found = backend_of(settings.CACHES[alias])
    return found is not None and issubclass(found, backend)


def find_bus_problems(where: str, bus: Any) -> Iterator[Problem]:
    """Yield the errors in BUS."""
    if bus is None or bus == LOG_AS_BUS:
        return
    label = f"{where} OPTIONS BUS is {bus!r}"
    if not isinstance(bus, str) or bus not in settings.CACHES:
        yield Problem(
            "cachelayers.E013",
            f"{label}, which is not in CACHES.",
            f"Give the alias of a Redis, {LOG_AS_BUS!r} for the table of invalidations, or None.",
        )
        return
    backend = backend_of(settings.CACHES[bus])
    client = str((settings.CACHES[bus].get("OPTIONS") or {}).get("CLIENT_CLASS", ""))
    if client.endswith("ShardClient"):
        yield Problem(
            "cachelayers.E013",
            f"{label}, whose ShardClient spreads its keys over several servers.",
            "Give the alias of one Redis; it may be a cache of its own, for the bus alone.",
        )
    elif backend is not None and not issubclass(layer_class_of(backend), RedisLayer):
        yield Problem(
            "cachelayers.E013",
            f"{label}, which is not a Redis but a {backend.__name__}.",
            f"Give the alias of a Redis, {LOG_AS_BUS!r} for the table of invalidations, or None.",
        )


def unmet_demand(name: str, value: Any) -> str | None:
    """Return the requirement of an option that ``value`` does not meet, or None."""
    if name == "MEMORY_TIMEOUT" and value is None:
        return None
    if name in {"MEMORY_TIMEOUT", "TIME_LIMIT"}:
        seconds = as_seconds(value)
        met = is_number(seconds) and seconds > 0
        return None if met else f"{HOW_TO_WRITE}, above 0."
    if name == "MEMORY_MAX_BYTES":
        met = value is None or (is_whole(value) and value > 0)
        return None if met else "Give a whole number above 0: memory has to have a bound."
    if name in TABLE_OPTIONS:
        return unmet_table_demand(name, value)
    return None  # LAYERS and BUS are validated above
