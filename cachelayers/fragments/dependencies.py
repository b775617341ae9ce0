"""The dependencies of a fragment that were read before it began: instances, lists, aggregates.

Queries during the rendering are captured. A view may have read a row, or counted rows, long before;
the fragment shows the result without a query of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from django.db.models import Model, QuerySet
from django.template.base import Node
from django.template.library import InclusionNode
from django.template.loader_tags import BLOCK_CONTEXT_KEY, ExtendsNode, IncludeNode

from cachelayers.fragments.canonical import OF_EACH_QUERY
from cachelayers.fragments.lookups import ABSENT, ALL_NAMES, CanonicalName
from cachelayers.fragments.variants import USER
from cachelayers.invalidation import (
    Capture,
    add_all_dependencies,
    add_instance,
    refuse_old_permissions,
    without_laziness,
)
from cachelayers.lookup import add_rows_of_argument

NoteName = Callable[[str], None]
FORLOOP = "forloop"
KEPT_BY_DJANGO = frozenset({BLOCK_CONTEXT_KEY, ExtendsNode.context_key})


class LookedUp:
    """The names outside a block that the block has looked up."""

    def __init__(self, note: NoteName) -> None:
        """``note`` is called the first time that an existing name is looked up."""
        self.values: dict[str, Any] = {}  # ABSENT for a missing name
        self.obstacles: dict[str, None] = {}  # why the fragment must not be cached
        self._note = note

    def note(self, name: str, value: Any) -> None:
        # TrackedLoop records the use of the loop around the block.
        if name != FORLOOP and self.values.get(name, ABSENT) is ABSENT:
            self.values[name] = value
            self._note(name)

    def note_absent(self, name: object) -> None:
        """Record that a name was missing, at least in one of the dictionaries."""
        if isinstance(name, str) and name != FORLOOP:
            self.values.setdefault(name, ABSENT)

    def note_all_names(self) -> None:
        """Record a look at all names, for example to pass them to another template."""
        if ALL_NAMES not in self.values:
            self.values[ALL_NAMES] = ALL_NAMES
            self._note(ALL_NAMES)

    def note_state(self, what: str) -> None:
        """Record a tag whose state continues from one use to the next."""
        self.obstacles[
            f"{what} in it continues from its use elsewhere in the page. Put all uses into one"
            " fragment"
        ] = None

    def note_write(self, name: object) -> None:
        """Record a change of a name from outside the block."""
        self.obstacles[f"it sets {name!r}, which the rest of the page may show"] = None


class TrackedNames(MutableMapping[str, Any]):
    """Wraps one dictionary of a template context, and records the lookups."""

    def __init__(self, names: MutableMapping[str, Any], looked_up: LookedUp) -> None:
        self._names = names
        self._looked_up = looked_up

    def __getitem__(self, name: str) -> Any:
        value = self._names[name]
        self._looked_up.note(name, value)
        return value

    def __contains__(self, name: object) -> bool:
        if name in self._names:
            self._looked_up.note(str(name), self._names[str(name)])
            return True
        self._looked_up.note_absent(name)
        return False

    def __setitem__(self, name: str, value: Any) -> None:
        self._looked_up.note_write(name)
        self._names[name] = value

    def __delitem__(self, name: str) -> None:
        self._looked_up.note_write(name)
        del self._names[name]

    def __iter__(self) -> Iterator[str]:
        self._looked_up.note_all_names()
        return iter(self._names)

    def __len__(self) -> int:
        self._looked_up.note_all_names()
        return len(self._names)


class TrackedState(dict[Any, Any]):
    """The state of tags within a template; records state that outlives one use of a block.

    For a tag within the block, such as `{% cycle %}`, this is its state from before the block and,
    if the block is in a loop, the state that it leaves for the next use. For others it is all.
    """

    def __init__(self, state: dict[Any, Any], looked_up: LookedUp, *, is_in_loop: bool) -> None:
        """The block works on a copy of ``state``."""
        super().__init__(state)
        self._before, self._looked_up, self._is_in_loop = {**state}, looked_up, is_in_loop

    def _note(self, key: object, *, is_write: bool) -> None:
        if key in KEPT_BY_DJANGO or isinstance(key, (IncludeNode, InclusionNode)):
            return
        is_of_block = isinstance(key, Node) and key not in self._before
        if not is_of_block or (is_write and self._is_in_loop):
            what = getattr(key, "token", key) if isinstance(key, Node) else repr(key)
            self._looked_up.note_state(str(getattr(what, "contents", what)))

    def __getitem__(self, key: Any) -> Any:
        self._note(key, is_write=False)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._note(key, is_write=False)
        return super().__contains__(key)

    def get(self, key: Any, default: Any = None) -> Any:
        self._note(key, is_write=False)
        return super().get(key, default)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._note(key, is_write=True)
        super().__setitem__(key, value)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        self._note(key, is_write=key not in self._before)
        return super().setdefault(key, default)


def is_loop(loop: Any) -> bool:
    """Tell whether it is a loop, and not an empty dictionary in its place."""
    while isinstance(loop, TrackedLoop):
        loop = loop.loop
    return isinstance(loop, dict) and bool(loop)


class TrackedLoop(dict[Any, Any]):
    """Replaces the loop around a block, and records which values of it are used.

    Loops within the block ask only whether there is a loop around them.
    """

    def __init__(self, loop: Any, path: str, looked_up: LookedUp) -> None:
        """``loop``: Django's dictionary, empty outside a loop."""
        super().__init__()
        self.loop, self._path, self._looked_up = loop, path, looked_up

    def __getitem__(self, name: Any) -> Any:
        path = f"{self._path}.{name}"
        if not isinstance(name, str):
            self._looked_up.note_state("a tag")
            return self.loop[name]
        if name == "parentloop" and isinstance(self.loop.get(name), dict):
            return TrackedLoop(self.loop[name], path, self._looked_up)
        if name not in self.loop:
            self._looked_up.note(path, ABSENT)
            raise KeyError(name)
        self._looked_up.note(path, self.loop[name])
        return self.loop[name]

    def __contains__(self, name: object) -> bool:
        try:
            self[name]
        except KeyError:
            return False
        return True

    def get(self, name: Any, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401 - that would be this method

    def __setitem__(self, name: Any, value: Any) -> None:
        self._looked_up.note_state("a tag")
        self.loop[name] = value

    def setdefault(self, name: Any, default: Any = None) -> Any:
        """Record it: the value continues from one use to the next."""
        if name not in self:
            self[name] = default
        return self.loop[name]

    def __bool__(self) -> bool:
        self._looked_up.note(f"{self._path}.", self.loop)
        return bool(self.loop)

    def __iter__(self) -> Iterator[Any]:
        self._looked_up.note(f"{self._path}.", self.loop)
        return iter(self.loop)

    def __len__(self) -> int:
        self._looked_up.note(f"{self._path}.", self.loop)
        return len(self.loop)

    def __repr__(self) -> str:
        self._looked_up.note(f"{self._path}.", self.loop)
        return repr(self.loop)

    def keys(self) -> Any:
        self._looked_up.note(f"{self._path}.", self.loop)
        return self.loop.keys()

    def values(self) -> Any:
        self._looked_up.note(f"{self._path}.", self.loop)
        return self.loop.values()

    def items(self) -> Any:
        self._looked_up.note(f"{self._path}.", self.loop)
        return self.loop.items()


def untracked(names: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return the dictionary itself, without the wrappers of the fragments around."""
    while type(names) is TrackedNames:  # isinstance() of an abstract class takes ten times as long
        names = names._names
    return names


def add_dependencies(
    capture: Capture,
    names: Iterable[CanonicalName],
    arguments: Sequence[object],
    dimensions: AbstractSet[str],
    users: Iterable[Any],
) -> bool:
    """Make a capture depend on values that a block shows without reading them.

    The key identifies arguments and names by value; their rows are dependencies. A view may have
    made a user, or the values within code, from any row read so far, so the fragment depends on all
    of these. Returns False if those rows are unknown because nothing recorded the reads.
    """
    is_clear = USER not in dimensions
    for user in () if is_clear else map(without_laziness, users):
        if isinstance(user, Model):
            refuse_old_permissions(capture, user)
    for argument in arguments:
        is_clear &= add_argument(capture, argument)
    for name in names:
        for row in name.rows:
            add_instance(capture, row)
        is_clear &= name.is_all
    if is_clear:
        return True
    if capture.unit.is_of_one_recall:
        return False
    add_all_dependencies(capture)
    return True


def add_argument(capture: Capture, argument: object) -> bool:
    """Depend on the rows in an argument. Return whether key and rows cover all of it."""
    argument = without_laziness(argument)
    if not isinstance(argument, QuerySet):
        return add_rows_of_argument(capture, argument)
    if argument._result_cache is None:  # the block has not run it, and the key has all of it
        return OF_EACH_QUERY.issuperset(vars(argument))
    return add_rows_of_argument(capture, list(argument))
