"""Check what all our backends have in common in CACHES. Called by their options."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from django.core.cache.backends.base import get_key_func

SETTINGS_KEYS = {
    "BACKEND", "LOCATION", "TIMEOUT", "OPTIONS", "KEY_PREFIX", "VERSION", "KEY_FUNCTION",
}  # fmt: skip


class Problem(NamedTuple):
    """What is wrong in a cache's settings: place and value in ``text``, the cure in ``cure``."""

    id: str
    text: str
    cure: str

    def __str__(self) -> str:
        return f"{self.text} {self.cure}"


def find_common_problems(
    where: str,
    params: Mapping[str, Any],
    known_options: Mapping[str, Any],
    unmet_demand: Callable[[str, Any], str | None],
) -> Iterator[Problem]:
    """Yield what is wrong with the settings of the cache called ``where`` in messages.

    ``unmet_demand`` returns what an option asks for where a value does not meet it.
    """
    for key in sorted(set(params) - SETTINGS_KEYS):
        yield Problem(
            "cachelayers.E003",
            f"{where} has the unknown key {key!r}.",
            f"Known are {', '.join(sorted(SETTINGS_KEYS))}; a cache's own options go into OPTIONS.",
        )
    timeout = params.get("TIMEOUT")
    if timeout is not None and not is_number(as_number(timeout)):
        yield Problem(
            "cachelayers.E004",
            f"{where} TIMEOUT is {timeout!r}.",
            "Give seconds as a number, or None for entries that never expire.",
        )
    yield from find_key_problems(where, params)
    options = params.get("OPTIONS", {})
    if not isinstance(options, Mapping):
        yield Problem(
            "cachelayers.E004", f"{where} OPTIONS is {options!r}.", "It must be a dictionary."
        )
        return
    for name, value in options.items():
        if name not in known_options:
            yield Problem(
                "cachelayers.E003",
                f"{where} OPTIONS has the unknown key {name!r}.",
                f"Known are {', '.join(sorted(known_options))}.",
            )
        elif demand := unmet_demand(name, value):
            yield Problem("cachelayers.E004", f"{where} OPTIONS {name} is {value!r}.", demand)


def find_key_problems(where: str, params: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with what keys are made of."""
    prefix, version = params.get("KEY_PREFIX", ""), params.get("VERSION", 1)
    function = params.get("KEY_FUNCTION")
    if not isinstance(prefix, str):
        yield Problem("cachelayers.E004", f"{where} KEY_PREFIX is {prefix!r}.", "Give a text.")
    if not is_whole(as_number(version)):
        yield Problem(
            "cachelayers.E004", f"{where} VERSION is {version!r}.", "Give a whole number."
        )
    try:
        get_key_func(function)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        yield Problem(
            "cachelayers.E004",
            f"{where} KEY_FUNCTION is {function!r}.",
            f"Give a function of key, prefix and version, or its dotted path ({error}).",
        )


def unmet_bound_demand(value: Any) -> str | None:
    """Return what a bound asks for, where ``value`` is none."""
    met = value is None or (is_whole(value) and value > 0)
    return None if met else "Give a whole number above 0, or None for no bound."


def as_number(value: Any) -> Any:
    """Return the number that a text stands for, as environment variables give it."""
    if isinstance(value, str):
        for kind in (int, float):
            with suppress(ValueError):
                return kind(value)
    return value


def is_whole(value: Any) -> bool:
    """Tell a whole number from everything else, from True too."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Tell a finite number from everything else, from True too."""
    return is_whole(value) or (isinstance(value, float) and value - value == 0)
