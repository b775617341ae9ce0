"""What decorators below @cached hold: it tells functions of one name apart. Used by keeping.

``cached(for_user(user)(report))`` is called ``report`` for every user.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import WRAPPER_ASSIGNMENTS, partial
from types import FunctionType
from typing import Any

from cachelayers.entries.spelling import (
    STATIC_C_TYPE,
    Unstable,
    find_by_name,
    path_of,
    spell,
)

INNER = ("__wrapped__", "__func__", "fget", "func")  # where a decorator keeps what it was given
NO_VALUES = {*WRAPPER_ASSIGNMENTS, "__wrapped__"}
MOST_LAYERS = 100


def stands_under_its_name(keeping: Any, path: str) -> bool:
    """Tell whether a module or class has the cached function, decorated further or not."""
    module, _, qualname = path.partition(":")
    found = find_by_name(module, qualname)
    for _ in range(MOST_LAYERS):
        if found is None or getattr(found, "_keeping", None) is keeping:
            break
        found = next((one for one in (getattr(found, name, None) for name in INNER) if one), None)
    return found is not None


def spell_held(where: str, function: Any) -> str:
    """Spell what the decorators of a function hold; TypeError where something makes no key."""
    layers = list(layers_of(function))
    known = {id(layer) for layer in layers}
    spelled = []
    for layer in layers:
        for name, value in held_by(layer):
            if id(value) in known:
                continue
            try:
                spelled.append(f"{name}={spell_one(value)}")
            except (Unstable, RecursionError) as error:
                raise TypeError(
                    f"@cached {where}: its decorator uses {name}, which makes no key: {error}."
                    " Define the function at the top of a module, or give cached(key=...) with a"
                    " text that tells it from the others."
                ) from None
    return "".join(spelled)


def layers_of(function: Any) -> Iterator[Any]:
    """Yield a function, what it wraps, and so on."""
    for _ in range(MOST_LAYERS):
        yield function
        function = getattr(function, "__wrapped__", None)
        if function is None:
            break


def place_among_namesakes(function: Any) -> str:
    """Return where a function begins that its name does not lead to: another one may have the name.

    As handlers that are registered and all called alike. Empty where the name leads to its code.
    """
    code = code_of(function)
    found = code_of(find_by_name(function.__module__, function.__qualname__))
    return "" if code is None or code is found else f"line {code.co_firstlineno};"


def code_of(function: Any) -> Any:
    """Return the code of the innermost function, if it has some."""
    *_, innermost = layers_of(function)
    return getattr(innermost, "__code__", None)


def held_by(layer: Any) -> Iterator[tuple[str, Any]]:
    """Yield the values that a function or callable object has beside its arguments."""
    if isinstance(layer, FunctionType):
        for name, cell in zip(layer.__code__.co_freevars, layer.__closure__ or (), strict=True):
            # That of a method which uses super() says nothing: the class is in the name.
            if name != "__class__":
                with suppress(ValueError):  # nothing is in it yet
                    yield name, cell.cell_contents
        yield from added_by(layer)
    elif isinstance(layer, partial):
        yield "arguments", (layer.args, layer.keywords)
    elif not type(layer).__flags__ & STATIC_C_TYPE:  # not a builtin, or what lru_cache makes
        own = {name: value for part in parts_of(layer) for name, value in part.items()}
        yield from ((name, own[name]) for name in sorted(own.keys() - NO_VALUES))


def added_by(wrapper: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield what a decorator's function has beside what it has taken over from the wrapped one."""
    wrapped = getattr(wrapper, "__wrapped__", None)
    if wrapped is None:
        return  # its defaults are in each call's key, and its attributes in the code
    for index, value in enumerate(wrapper.__defaults__ or ()):
        yield f"default {index}", value
    yield from sorted((wrapper.__kwdefaults__ or {}).items())
    taken = getattr(wrapped, "__dict__", {})
    for name, value in sorted(vars(wrapper).items()):
        if name not in NO_VALUES and taken.get(name, NO_VALUES) is not value:
            yield name, value


def parts_of(instance: Any) -> Iterator[dict[str, Any]]:
    """Yield what an object holds: its attributes, and what is in its slots."""
    state = object.__getstate__(instance)
    for part in state if isinstance(state, tuple) else (state,):
        if isinstance(part, dict):
            yield part


def spell_one(value: Any) -> str:
    """Spell a value; a function that can be found under its name by that."""
    if isinstance(value, FunctionType):
        if find_by_name(value.__module__, value.__qualname__) is value:
            return f"g{spell(path_of(value))}"
        raise Unstable("the function cannot be found under its name")
    return spell(value)
