"""Read what is in a pickle without unpickling it: no class is imported, nothing is called.

A pickle is a program for a small machine with a stack. Here the machine only notes what it was told
to make: lists, texts and numbers become themselves, everything else a note of its class.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

MOST_OPERATIONS = 300_000  # a second or so
MARK: Final = object()


class Unreadable(Exception):
    """No pickle, a broken one, or one that is too long; the text says which."""


@dataclass(eq=False)
class Pairs:
    """A dictionary, whose keys may be anything."""

    items: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(eq=False)
class Several:
    """A set; ``name`` is that of its kind."""

    name: str
    items: list[Any] = field(default_factory=list)


@dataclass(eq=False)
class Noted:
    """What would be made by a class or function, and of what."""

    name: str
    arguments: Any = ()
    state: Any = None


def read_pickle(data: bytes) -> Any:
    """Return what a pickle is made of; raise Unreadable where that cannot be told."""
    machine = Machine()
    try:
        for number, (operation, argument, _) in enumerate(pickletools.genops(data)):
            if number >= MOST_OPERATIONS:
                raise Unreadable(f"it has more than {MOST_OPERATIONS:,} parts")
            machine.perform(operation.name, argument)
        return machine.stack[-1]
    # What is broken fails in many ways: no such operation, an empty stack, a number for a list.
    except (ValueError, IndexError, KeyError, AttributeError, TypeError, OverflowError) as error:
        raise Unreadable(f"it is no whole pickle: {type(error).__name__}: {error}") from error


class Machine:
    """The stack and the memory of one pickle."""

    def __init__(self) -> None:
        """Begin empty."""
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def perform(self, name: str, argument: Any) -> None:
        """Note one operation."""
        if name in VALUES:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name]())
        elif name in OPERATIONS:
            OPERATIONS[name](self, argument)
        elif name in {"EXT1", "EXT2", "EXT4", "PERSID", "NEXT_BUFFER"}:
            self.stack.append(Noted(name.lower(), argument))
        elif name not in WITHOUT_EFFECT:
            raise ValueError(f"{name} is not known")

    def pop(self, count: int) -> list[Any]:
        """Take the last ones off the stack."""
        if len(self.stack) < count:
            raise IndexError("the stack is empty")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def pop_to_mark(self) -> list[Any]:
        """Take everything off the stack down to the last mark, and that too."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is MARK:
                taken = self.stack[place + 1 :]
                del self.stack[place:]
                return taken
        raise IndexError("there is no mark")


def _make(count: int, make: Callable[..., Any]) -> Callable[[Machine, Any], None]:
    def perform(machine: Machine, argument: Any) -> None:
        machine.stack.append(make(*machine.pop(count)))

    return perform


def _make_marked(make: Callable[[list[Any]], Any]) -> Callable[[Machine, Any], None]:
    def perform(machine: Machine, argument: Any) -> None:
        machine.stack.append(make(machine.pop_to_mark()))

    return perform


def _add_marked(add: Callable[[Any, list[Any]], Any]) -> Callable[[Machine, Any], None]:
    def perform(machine: Machine, argument: Any) -> None:
        items = machine.pop_to_mark()
        add(machine.stack[-1], items)

    return perform


def _add(count: int, add: Callable[[Any, list[Any]], Any]) -> Callable[[Machine, Any], None]:
    def perform(machine: Machine, argument: Any) -> None:
        items = machine.pop(count)
        add(machine.stack[-1], items)

    return perform


def _extend(target: Any, items: list[Any]) -> None:
    (target if isinstance(target, list) else target.items).extend(items)


def _set_items(target: Any, items: list[Any]) -> None:
    pairs = paired(items)
    if isinstance(target, Noted):  # an OrderedDict and its like are made first and filled then
        target.state = target.state or Pairs()
        target = target.state
    target.items.extend(pairs)


def _append(target: Any, items: list[Any]) -> None:
    if isinstance(target, Noted):
        target.state = target.state or []
        target = target.state
    target.extend(items)  # in place: copies would take minutes for many small steps


def _set_state(target: Any, items: list[Any]) -> None:
    if isinstance(target, Noted):
        target.state = items[0]


def paired(items: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Return keys and values, which follow each other, as pairs."""
    return list(zip(items[::2], items[1::2], strict=True))


def name_of(made: Any) -> str:
    """Return the name of a class or function that was noted."""
    return made.name if isinstance(made, Noted) else "?"


INTEGERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4")
TEXTS = ("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
BYTES = (
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)
VALUES = frozenset((*INTEGERS, *TEXTS, *BYTES, "FLOAT", "BINFLOAT"))
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": Pairs,
    "EMPTY_SET": lambda: Several("set"),
    "MARK": lambda: MARK,
}
WITHOUT_EFFECT = frozenset({"PROTO", "FRAME", "STOP", "READONLY_BUFFER"})


def _remember(machine: Machine, argument: Any) -> None:
    machine.memo[len(machine.memo) if argument is None else argument] = machine.stack[-1]


OPERATIONS: dict[str, Callable[[Machine, Any], None]] = {
    "LIST": _make_marked(list),
    "TUPLE": _make_marked(tuple),
    "DICT": _make_marked(lambda items: Pairs(paired(items))),
    "FROZENSET": _make_marked(lambda items: Several("frozenset", items)),
    "INST": lambda machine, argument: machine.stack.append(
        Noted(argument.replace(" ", "."), tuple(machine.pop_to_mark()))
    ),
    "OBJ": _make_marked(lambda items: Noted(name_of(items[0]), tuple(items[1:]))),
    "TUPLE1": _make(1, lambda *items: items),
    "TUPLE2": _make(2, lambda *items: items),
    "TUPLE3": _make(3, lambda *items: items),
    "REDUCE": _make(2, lambda made, arguments: Noted(name_of(made), arguments)),
    "NEWOBJ": _make(2, lambda made, arguments: Noted(name_of(made), arguments)),
    "NEWOBJ_EX": _make(3, lambda made, arguments, _keywords: Noted(name_of(made), arguments)),
    "STACK_GLOBAL": _make(2, lambda module, name: Noted(f"{module}.{name}")),
    "GLOBAL": lambda machine, argument: machine.stack.append(Noted(argument.replace(" ", "."))),
    "BINPERSID": _make(1, lambda key: Noted("persid", (key,))),
    "APPEND": _add(1, _append),
    "APPENDS": _add_marked(_append),
    "ADDITEMS": _add_marked(_extend),
    "SETITEM": _add(2, _set_items),
    "SETITEMS": _add_marked(_set_items),
    "BUILD": _add(1, _set_state),
    "POP": lambda machine, argument: machine.pop(1).clear(),
    "POP_MARK": lambda machine, argument: machine.pop_to_mark().clear(),
    "DUP": lambda machine, argument: machine.stack.append(machine.stack[-1]),
    "PUT": _remember,
    "BINPUT": _remember,
    "LONG_BINPUT": _remember,
    "MEMOIZE": _remember,
    "GET": lambda machine, argument: machine.stack.append(machine.memo[argument]),
    "BINGET": lambda machine, argument: machine.stack.append(machine.memo[argument]),
    "LONG_BINGET": lambda machine, argument: machine.stack.append(machine.memo[argument]),
}
