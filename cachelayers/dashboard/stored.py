"""What is stored in an entry, as text: its envelope and its value. Nothing is unpickled."""

from __future__ import annotations

import json
import pickletools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from django.db import connections
from django.utils.translation import gettext as _

from cachelayers.backends.layered.layers.table import TOMBSTONE_VALUE
from cachelayers.entries import Kind, unpack_envelope
from cachelayers.invalidation.log import log_of
from cachelayers.invalidation.transactions import transaction_of

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


MOST_CHARACTERS = 20_000
SAFE_STRING = "django.utils.safestring.SafeString"  # text, as fragments are
MOST_LEVELS = 30
MOST_BITS = 10_000
MOST_PARTS = 20_000  # a pickle may name one part a thousand times, and that one another


class Writer:
    """Gathers text until there is enough of it."""

    def __init__(self, most: int = MOST_CHARACTERS) -> None:
        """Begin empty."""
        self._parts: list[str] = []
        self._left = most
        self._parts_left = MOST_PARTS

    @property
    def is_full(self) -> bool:
        """Tell whether no more is taken."""
        return self._left <= 0 or self._parts_left <= 0

    def add(self, text: str) -> None:
        """Take as much as fits."""
        self._parts.append(text[: max(0, self._left)])
        self._left -= len(text)
        self._parts_left -= 1

    def text(self) -> str:
        """Return what was taken, and whether it was all."""
        return "".join(self._parts) + (" ..." if self.is_full else "")


def written(value: Any, most: int = MOST_CHARACTERS) -> str:
    """Return a value as text."""
    if isinstance(value, Noted) and value.name == SAFE_STRING and len(value.arguments) == 1:
        value = value.arguments[0]
    if isinstance(value, str):
        # A piece of a text is never a SafeString, which a page would take for its own HTML.
        return value[:most] + (" ..." if len(value) > most else "")
    writer = Writer(most)
    write(value, writer, 0)
    return writer.text()


def write(value: Any, writer: Writer, level: int) -> None:
    """Write one part, and what is in it."""
    if writer.is_full:
        return
    if level > MOST_LEVELS:
        writer.add("...")
    elif isinstance(value, list):
        write_all("[", value, "]", writer, level)
    elif isinstance(value, tuple):
        write_all("(", value, ",)" if len(value) == 1 else ")", writer, level)
    elif isinstance(value, Several):
        write_all(f"{value.name}(", value.items, ")", writer, level)
    elif isinstance(value, Pairs | dict):
        write_pairs(value.items() if isinstance(value, dict) else value.items, writer, level)
    elif isinstance(value, Noted):
        write_noted(value, writer, level)
    elif isinstance(value, int) and value.bit_length() > MOST_BITS:
        writer.add(f"<a number of {value.bit_length():,} bits>")  # Python refuses to write it
    else:
        writer.add(repr(value[:MOST_CHARACTERS] if isinstance(value, str | bytes) else value))


def write_all(begin: str, items: Iterable[Any], end: str, writer: Writer, level: int) -> None:
    """Write the parts of a list or its like."""
    writer.add(begin)
    for number, item in enumerate(items):
        if writer.is_full:
            return
        writer.add(", " if number else "")
        write(item, writer, level + 1)
    writer.add(end)


def write_pairs(pairs: Iterable[tuple[Any, Any]], writer: Writer, level: int) -> None:
    """Write a dictionary."""
    writer.add("{")
    for number, (key, value) in enumerate(pairs):
        if writer.is_full:
            return
        writer.add(", " if number else "")
        write(key, writer, level + 1)
        writer.add(": ")
        write(value, writer, level + 1)
    writer.add("}")


def write_noted(noted: Noted, writer: Writer, level: int) -> None:
    """Write what would be made by a class."""
    writer.add(f"<{noted.name}")
    if noted.arguments:
        writer.add(" ")
        write(noted.arguments, writer, level + 1)
    if noted.state is not None:
        writer.add(" ")
        write(noted.state, writer, level + 1)
    writer.add(">")


PICKLE_HEAD = b"\x80"
MOST_TAGS_ASKED = 50
MOST_BYTES_READ = 2**20  # objects of so many bytes may take a hundred times as much memory


@dataclass(frozen=True)
class Judged:
    """What a value was made of in one database, and what of that has changed since."""

    database: str
    position: int
    tags: list[str]
    changed: list[str]
    is_valid: bool


@dataclass(frozen=True)
class Stored:
    """What an entry holds. ``problem``: why nothing more can be said."""

    value: str = ""
    is_envelope: bool = False
    fresh_until: datetime | None = None
    dead_until: datetime | None = None
    created: datetime | None = None
    seconds: float | None = None  # what it took to compute it
    dependencies: list[Judged] = field(default_factory=list)
    problem: str = ""

    @property
    def is_valid(self) -> bool:
        """Tell whether nothing that it was made of has changed."""
        return all(judged.is_valid for judged in self.dependencies)


def read_row(kind: int, number: int | None, data: bytes) -> Stored:
    """Return what a row of the table holds; ``data`` without signature and compression."""
    if kind == Kind.INT:
        return Stored(str(number))
    if kind == Kind.BYTES and data == TOMBSTONE_VALUE:
        return Stored(problem=_("it keeps the place of an entry that was just deleted"))
    if kind == Kind.BYTES:
        return Stored(written(data))
    if kind in {Kind.STR, Kind.DIGITS}:
        return Stored(written(data.decode("utf-8", "backslashreplace")))
    if kind == Kind.CUSTOM:
        return Stored(problem=_("only its own serializer can read it"))
    return read_json(data) if kind == Kind.JSON else read_bytes(data)


def read_bytes(data: bytes) -> Stored:
    """Return what bytes are that may be a pickle, JSON or neither; very many, as they are."""
    if len(data) > MOST_BYTES_READ:
        return Stored(written(data))
    if data.startswith(PICKLE_HEAD):
        try:
            return read_live(read_pickle(data))
        except Unreadable as error:
            return Stored(problem=str(error))
    return read_json(data)


def read_json(data: bytes) -> Stored:
    """Return what JSON says; what is none is bytes."""
    try:
        return read_live(json.loads(data))
    except (ValueError, RecursionError):
        return Stored(written(data))


def read_live(found: Any) -> Stored:
    """Return what is stored, with the envelope taken off where there is one."""
    if (
        isinstance(found, list | tuple)
        and len(found) == 2
        and unpack_envelope(found[0]) is not None
    ):
        found = found[0]  # as a layer keeps it that does not tell how long an entry lives
    envelope = unpack_envelope(found)
    if envelope is None:
        return Stored(written(found))
    return Stored(
        value=written(envelope.value),
        is_envelope=True,
        fresh_until=time_of(envelope.fresh_until),
        dead_until=time_of(envelope.dead_until),
        created=time_of(envelope.created or None),
        seconds=envelope.seconds if isinstance(envelope.seconds, int | float) else None,
        dependencies=[judge(*one) for one in well_formed(envelope.dependencies)],
    )


def well_formed(dependencies: Any) -> list[tuple[str, str, int, list[str]]]:
    """Return those dependencies that are what they should be: anybody may have written them."""
    found = []
    for one in dependencies if isinstance(dependencies, list | tuple) else ():
        if isinstance(one, Pairs) or not isinstance(one, list | tuple) or len(one) != 4:
            continue
        database, incarnation, position, tags = one
        if type(position) is int and isinstance(tags, list | tuple):
            texts = [tag for tag in tags if isinstance(tag, str)]
            found.append((str(database), str(incarnation), position, texts))
    return found


def judge(database: str, incarnation: str, position: int, tags: list[str]) -> Judged:
    """Tell which tags have changed since a position."""
    if database not in connections.settings:
        return Judged(database, position, tags, [], is_valid=False)
    log = log_of(database)
    if not transaction_of(connections[database]).is_open():
        log.refresh()
    if log.is_unchanged_since(incarnation, position, tags):
        return Judged(database, position, tags, [], is_valid=True)
    asked = tags[:MOST_TAGS_ASKED] if incarnation == getattr(log.reading, "incarnation", "") else []
    changed = [tag for tag in asked if not log.is_unchanged_since(incarnation, position, [tag])]
    return Judged(database, position, tags, changed, is_valid=False)


def at(seconds: float) -> datetime | None:
    """Return a time in seconds since 1970; None for one that no calendar has."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def time_of(seconds: Any) -> datetime | None:
    """Return a time of an envelope; None: no end."""
    return at(seconds) if isinstance(seconds, int | float) else None
