"""The envelope and the value of an entry as text, without unpickling.

The admin's entries screen shows it. Unpickling would run code that is in the value.
"""

from __future__ import annotations

import json
import pickletools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from django.db import connections
from django.utils.translation import gettext as _

from cachelayers.backends import TOMBSTONE_VALUE
from cachelayers.dashboard.history import KINDS, Named, models_by_table
from cachelayers.entries import Envelope, Kind, unpack_envelope
from cachelayers.invalidation import log_of, transaction_of, untracked_tables_in

MOST_OPERATIONS = 300_000  # about a second
MARK: Final = object()


class Unreadable(Exception):
    """Not a pickle, a broken one, or a too long one; the message says which."""


@dataclass(eq=False)
class Pairs:
    """A dictionary; its keys may be unhashable."""

    items: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(eq=False)
class Several:
    """A set; ``name`` is its type."""

    name: str
    items: list[Any] = field(default_factory=list)


@dataclass(eq=False)
class Construction:
    """A class or function that the pickle would call, and the arguments."""

    name: str
    arguments: Any = ()
    state: Any = None


def read_pickle(data: bytes) -> Any:
    """Return the contents of a pickle. Raises Unreadable."""
    machine = Machine()
    try:
        for number, (operation, argument, _) in enumerate(pickletools.genops(data)):
            if number >= MOST_OPERATIONS:
                raise Unreadable(f"it has more than {MOST_OPERATIONS:,} parts")
            machine.perform(operation.name, argument)
        return machine.stack[-1]
    # A broken pickle fails in many ways: unknown operation, empty stack, wrong type.
    except (ValueError, IndexError, KeyError, AttributeError, TypeError, OverflowError) as error:
        raise Unreadable(f"it is no whole pickle: {type(error).__name__}: {error}") from error


class Machine:
    """The stack and the memo of one pickle.

    Not a pickle.Unpickler that finds harmless classes: it hashes keys, and Python crashes for the
    hash of a tuple that is nested very deeply.
    """

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def perform(self, name: str, argument: Any) -> None:
        """Execute one operation."""
        if name in VALUES:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name]())
        elif name in RESULTS:
            count, make = RESULTS[name]
            self.stack.append(make(self.pop(count)))
        elif name in CHANGES:
            count, change = CHANGES[name]
            items = self.pop(count)
            change(self.stack[-1], items)
        elif name in OTHERS:
            OTHERS[name](self, argument)
        elif name in OUTSIDE:
            self.stack.append(Construction(name.lower(), argument))
        elif name not in WITHOUT_EFFECT:
            raise ValueError(f"{name} is not known")

    def pop(self, count: int | None) -> list[Any]:
        """Remove the last ones from the stack; None: everything down to the last mark, with it."""
        index = len(self.stack) - 1
        if count is None:
            while self.stack[index] is not MARK:  # IndexError if there is none
                index -= 1
            first = index + 1
        else:
            index = first = len(self.stack) - count
            if index < 0:
                raise IndexError("the stack is empty")
        taken = self.stack[first:]
        del self.stack[index:]
        return taken


def construct(items: list[Any]) -> Construction:
    """Return the call of the first one, which the last one may give keywords, with arguments."""
    made, arguments, *_keywords = items
    return Construction(made.name if isinstance(made, Construction) else "?", arguments)


def set_items(target: Any, items: Sequence[Any]) -> None:
    if isinstance(target, Construction):  # such as an OrderedDict, created empty and then filled
        target.state = target.state or Pairs()
        target = target.state
    target.items.extend(paired(items))


def append(target: Any, items: list[Any]) -> None:
    if isinstance(target, Construction):
        target.state = target.state or []
        target = target.state
    target.extend(items)  # in place: copies would take minutes for many small steps


def set_state(target: Any, items: list[Any]) -> None:
    if isinstance(target, Construction):
        target.state = items[0]


def paired(items: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Return alternating keys and values as pairs."""
    return list(zip(items[::2], items[1::2], strict=True))


def remember(machine: Machine, argument: Any) -> None:
    machine.memo[len(machine.memo) if argument is None else argument] = machine.stack[-1]


def recollect(machine: Machine, argument: Any) -> None:
    machine.stack.append(machine.memo[argument])


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
# How many values an operation takes from the stack (None: down to the mark), and what it makes.
RESULTS: dict[str, tuple[int | None, Callable[[list[Any]], Any]]] = {
    "LIST": (None, list),
    "TUPLE": (None, tuple),
    "DICT": (None, lambda items: Pairs(paired(items))),
    "FROZENSET": (None, lambda items: Several("frozenset", items)),
    "OBJ": (None, lambda items: construct([items[0], tuple(items[1:])])),
    "TUPLE1": (1, tuple),
    "TUPLE2": (2, tuple),
    "TUPLE3": (3, tuple),
    "REDUCE": (2, construct),
    "NEWOBJ": (2, construct),
    "NEWOBJ_EX": (3, construct),
    "STACK_GLOBAL": (2, lambda items: Construction(f"{items[0]}.{items[1]}")),
    "BINPERSID": (1, lambda items: Construction("persid", tuple(items))),
}
# The same for those that change the value that is the last one then.
CHANGES: dict[str, tuple[int | None, Callable[[Any, list[Any]], None]]] = {
    "APPEND": (1, append),
    "APPENDS": (None, append),
    "ADDITEMS": (None, lambda target, items: target.items.extend(items)),
    "SETITEM": (2, set_items),
    "SETITEMS": (None, set_items),
    "BUILD": (1, set_state),
}
OTHERS: dict[str, Callable[[Machine, Any], Any]] = {
    "INST": lambda machine, argument: machine.stack.append(
        Construction(argument.replace(" ", "."), tuple(machine.pop(None)))
    ),
    "GLOBAL": lambda machine, argument: machine.stack.append(
        Construction(argument.replace(" ", "."))
    ),
    "POP": lambda machine, argument: machine.pop(1),
    "POP_MARK": lambda machine, argument: machine.pop(None),
    "DUP": lambda machine, argument: machine.stack.append(machine.stack[-1]),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), remember),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), recollect),
}
OUTSIDE = frozenset({"EXT1", "EXT2", "EXT4", "PERSID", "NEXT_BUFFER"})  # values from elsewhere
WITHOUT_EFFECT = frozenset({"PROTO", "FRAME", "STOP", "READONLY_BUFFER"})


MOST_CHARACTERS = 20_000
SAFE_STRING = "django.utils.safestring.SafeString"  # text, such as that of fragments
MOST_LEVELS = 30
MOST_BITS = 10_000
MOST_PARTS = 20_000  # a pickle may refer to one part many times, at several levels


class Writer:
    """Collects text up to a limit."""

    def __init__(self, most: int = MOST_CHARACTERS) -> None:
        self._parts: list[str] = []
        self._left = most
        self._parts_left = MOST_PARTS

    @property
    def is_full(self) -> bool:
        return self._left <= 0 or self._parts_left <= 0

    def add(self, text: str) -> None:
        """Add as much as fits."""
        self._parts.append(text[: max(0, self._left)])
        self._left -= len(text)
        self._parts_left -= 1

    def text(self) -> str:
        """Return the text, with an ellipsis if it was cut."""
        return "".join(self._parts) + (" ..." if self.is_full else "")


def written(value: Any, most: int = MOST_CHARACTERS) -> str:
    """Return a value as text."""
    if isinstance(value, Construction) and value.name == SAFE_STRING and len(value.arguments) == 1:
        value = value.arguments[0]
    if isinstance(value, str):
        # A slice of a text is never a SafeString, which a page would not escape.
        return value[:most] + (" ..." if len(value) > most else "")
    writer = Writer(most)
    write(value, writer, 0)
    return writer.text()


def write(value: Any, writer: Writer, level: int) -> None:
    """Write a value with its contents."""
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
    elif isinstance(value, Construction):
        write_construction(value, writer, level)
    elif isinstance(value, int) and value.bit_length() > MOST_BITS:
        writer.add(f"<a number of {value.bit_length():,} bits>")  # Python refuses to convert it
    else:
        writer.add(repr(value[:MOST_CHARACTERS] if isinstance(value, str | bytes) else value))


def write_all(begin: str, items: Iterable[Any], end: str, writer: Writer, level: int) -> None:
    writer.add(begin)
    for number, item in enumerate(items):
        if writer.is_full:
            return
        writer.add(", " if number else "")
        write(item, writer, level + 1)
    writer.add(end)


def write_pairs(pairs: Iterable[tuple[Any, Any]], writer: Writer, level: int) -> None:
    writer.add("{")
    for number, (key, value) in enumerate(pairs):
        if writer.is_full:
            return
        writer.add(", " if number else "")
        write(key, writer, level + 1)
        writer.add(": ")
        write(value, writer, level + 1)
    writer.add("}")


def write_construction(construction: Construction, writer: Writer, level: int) -> None:
    """Write a class or function with its arguments."""
    writer.add(f"<{construction.name}")
    if construction.arguments:
        writer.add(" ")
        write(construction.arguments, writer, level + 1)
    if construction.state is not None:
        writer.add(" ")
        write(construction.state, writer, level + 1)
    writer.add(">")


PICKLE_HEAD = b"\x80"
MOST_TAGS_ASKED = 50
SLICES = KINDS["slice"][0]
MOST_BYTES_READ = 2**20  # objects from so many bytes may need a hundred times the memory


@dataclass(frozen=True)
class Judged:
    """The dependencies of a value in one database, and which of them have changed."""

    database: str
    position: int
    tags: list[str]
    changed: list[str]
    is_valid: bool

    @property
    def named(self) -> list[tuple[str, str]]:
        """Return the tags, those of slices with what they mean."""
        models = models_by_table(self.database)
        return [
            (tag, Named.by(tag, models).what if tag.startswith(SLICES) else "") for tag in self.tags
        ]

    @property
    def untracked(self) -> list[str]:
        """Return the tables whose changes do not invalidate the value."""
        return untracked_tables_in(self.database, self.tags)


@dataclass(frozen=True)
class Stored:
    """The contents of an entry. ``problem``: why they are not shown."""

    value: str = ""
    is_envelope: bool = False
    fresh_until: datetime | None = None
    dead_until: datetime | None = None
    created: datetime | None = None
    seconds: float | None = None  # time to compute the value
    dependencies: list[Judged] = field(default_factory=list)
    problem: str = ""

    @property
    def is_valid(self) -> bool:
        """Tell whether no dependency has changed."""
        return all(judged.is_valid for judged in self.dependencies)


def read_row(kind: int, number: int | None, data: bytes) -> Stored:
    """Return the contents of a table row; ``data`` without signature and compression."""
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
    """Return the contents of bytes: a pickle, JSON or neither. Very long ones are not parsed."""
    if len(data) > MOST_BYTES_READ:
        return Stored(written(data))
    if data.startswith(PICKLE_HEAD):
        try:
            return read_live(read_pickle(data))
        except Unreadable as error:
            return Stored(problem=str(error))
    return read_json(data)


def read_json(data: bytes) -> Stored:
    """Return the contents of JSON, or the bytes if it is none."""
    try:
        return read_live(json.loads(data))
    except (ValueError, RecursionError):
        return Stored(written(data))


def read_live(found: Any) -> Stored:
    """Return the contents, with the envelope separated if there is one."""
    envelope = envelope_of(found)
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


def envelope_of(found: Any) -> Envelope | None:
    """Return the envelope in a stored value; None if there is none."""
    if (
        isinstance(found, list | tuple)
        and len(found) == 2
        and unpack_envelope(found[0]) is not None
    ):
        found = found[0]  # the format of a layer that cannot return the remaining lifetime
    return unpack_envelope(found)


def tags_of_bytes(data: bytes) -> set[str]:
    """Return the tags of the dependencies of a pickled or JSON entry; empty if it has none."""
    if len(data) > MOST_BYTES_READ:
        return set()
    try:
        return tags_of_live(read_pickle(data) if data[:1] == PICKLE_HEAD else json.loads(data))
    except (Unreadable, ValueError, RecursionError):
        return set()


def tags_of_live(found: Any) -> set[str]:
    """Return the tags of the dependencies of a value; empty if it is no envelope."""
    envelope = envelope_of(found)
    if envelope is None:
        return set()
    return {tag for *_, tags in well_formed(envelope.dependencies) for tag in tags}


def well_formed(dependencies: Any) -> list[tuple[str, str, int, list[str]]]:
    """Return the dependencies that have the right format: others may have written the entry."""
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
    """Return which tags have changed since a position."""
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
    """Return a time from seconds since 1970; None outside of the calendar."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def time_of(seconds: Any) -> datetime | None:
    """Return a time of an envelope; None for no end."""
    return at(seconds) if isinstance(seconds, int | float) else None
