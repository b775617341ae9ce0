"""Tell what a fragment depends on through what was read before it began: instances, lists, figures.

What is read while it is rendered is captured. But a view may have read a row long before, or have
counted the rows of a table; the fragment shows it without a statement of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from django.db.models import Model, QuerySet
from django.template.base import Node
from django.template.library import InclusionNode
from django.template.loader_tags import BLOCK_CONTEXT_KEY, ExtendsNode, IncludeNode

from cachelayers.fragments.lookups import ABSENT, ALL_NAMES, CanonicalName
from cachelayers.fragments.variants import USER
from cachelayers.invalidation.dependencies import (
    Capture,
    add_all_seen,
    add_instance,
    mistrust_old_permissions,
    without_laziness,
)
from cachelayers.lookup import add_given

NoteName = Callable[[str], None]
FORLOOP = "forloop"
KEPT_BY_DJANGO = frozenset({BLOCK_CONTEXT_KEY, ExtendsNode.context_key})


class LookedUp:
    """What a block has asked for by name, of what was there before it began."""

    def __init__(self, note: NoteName) -> None:
        """``note``: is called the first time that a name is asked for which is there."""
        self.values: dict[str, Any] = {}  # ABSENT for a name that was not there
        self.obstacles: dict[str, None] = {}  # why it cannot be kept
        self._note = note

    def note(self, name: str, value: Any) -> None:
        """Note that a name was asked for."""
        # Of the loop around it NotedLoop tells, which stands in front.
        if name != FORLOOP and self.values.get(name, ABSENT) is ABSENT:
            self.values[name] = value
            self._note(name)

    def note_absent(self, name: object) -> None:
        """Note that a name was asked for which is not there, at least not in one place."""
        if isinstance(name, str) and name != FORLOOP:
            self.values.setdefault(name, ABSENT)

    def note_all_names(self) -> None:
        """Note that all names were looked at, as to hand them on to another template."""
        if ALL_NAMES not in self.values:
            self.values[ALL_NAMES] = ALL_NAMES
            self._note(ALL_NAMES)

    def note_state(self, what: str) -> None:
        """Note that a tag goes on from one use to the next."""
        self.obstacles[
            f"{what} in it goes on with what it did elsewhere in the page. Put all of that into one"
            " fragment"
        ] = None

    def note_write(self, name: object) -> None:
        """Note that something was changed that was there before."""
        self.obstacles[f"it sets {name!r}, which what comes after it may show"] = None


class NotedNames(MutableMapping[str, Any]):
    """One of a context's dictionaries, which notes what is asked for."""

    def __init__(self, names: MutableMapping[str, Any], seen: LookedUp) -> None:
        """Stand in front of ``names``."""
        self._names = names
        self._seen = seen

    def __getitem__(self, name: str) -> Any:
        value = self._names[name]
        self._seen.note(name, value)
        return value

    def __contains__(self, name: object) -> bool:
        if name in self._names:
            self._seen.note(str(name), self._names[str(name)])
            return True
        self._seen.note_absent(name)
        return False

    def __setitem__(self, name: str, value: Any) -> None:
        self._seen.note_write(name)
        self._names[name] = value

    def __delitem__(self, name: str) -> None:
        self._seen.note_write(name)
        del self._names[name]

    def __iter__(self) -> Iterator[str]:
        self._seen.note_all_names()
        return iter(self._names)

    def __len__(self) -> int:
        self._seen.note_all_names()
        return len(self._names)


class NotedState(dict[Any, Any]):
    """What tags remember within a template, which notes what goes beyond one use of a block.

    Of a tag within the block, such as `{% cycle %}`, that is what was there before; where the block
    is in a loop, also what it leaves for the next use. Of anything else it is all.
    """

    def __init__(self, state: dict[Any, Any], seen: LookedUp, *, is_in_loop: bool) -> None:
        """Take a copy of ``state``, in which the block goes on."""
        super().__init__(state)
        self._before, self._seen, self._is_in_loop = {**state}, seen, is_in_loop

    def _note(self, key: object, *, is_write: bool) -> None:
        if key in KEPT_BY_DJANGO or isinstance(key, (IncludeNode, InclusionNode)):
            return
        is_of_block = isinstance(key, Node) and key not in self._before
        if not is_of_block or (is_write and self._is_in_loop):
            what = getattr(key, "token", key) if isinstance(key, Node) else repr(key)
            self._seen.note_state(str(getattr(what, "contents", what)))

    def __getitem__(self, key: Any) -> Any:
        self._note(key, is_write=False)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._note(key, is_write=False)
        return super().__contains__(key)

    def get(self, key: Any, default: Any = None) -> Any:
        """Note it, and return it."""
        self._note(key, is_write=False)
        return super().get(key, default)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._note(key, is_write=True)
        super().__setitem__(key, value)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Note it, and return it."""
        self._note(key, is_write=key not in self._before)
        return super().setdefault(key, default)


def is_loop(loop: Any) -> bool:
    """Tell a loop from what stands for none."""
    while isinstance(loop, NotedLoop):
        loop = loop.loop
    return isinstance(loop, dict) and bool(loop)


class NotedLoop(dict[Any, Any]):
    """Stands for the loop around a block, and notes what is asked of it.

    Loops within the block ask only whether there is one around them.
    """

    def __init__(self, loop: Any, path: str, seen: LookedUp) -> None:
        """``loop``: Django's dictionary, empty where there is no loop."""
        super().__init__()
        self.loop, self._path, self._seen = loop, path, seen

    def __getitem__(self, name: Any) -> Any:
        path = f"{self._path}.{name}"
        if not isinstance(name, str):
            self._seen.note_state("a tag")
            return self.loop[name]
        if name == "parentloop" and isinstance(self.loop.get(name), dict):
            return NotedLoop(self.loop[name], path, self._seen)
        if name not in self.loop:
            self._seen.note(path, ABSENT)
            raise KeyError(name)
        self._seen.note(path, self.loop[name])
        return self.loop[name]

    def __contains__(self, name: object) -> bool:
        try:
            self[name]
        except KeyError:
            return False
        return True

    def get(self, name: Any, default: Any = None) -> Any:
        """Note it, and return it."""
        return self[name] if name in self else default  # noqa: SIM401 - that would be this method

    def __setitem__(self, name: Any, value: Any) -> None:
        self._seen.note_state("a tag")
        self.loop[name] = value

    def setdefault(self, name: Any, default: Any = None) -> Any:
        """Note it: it goes on from one use to the next."""
        if name not in self:
            self[name] = default
        return self.loop[name]

    def __bool__(self) -> bool:
        self._seen.note(f"{self._path}.", self.loop)
        return bool(self.loop)

    def __iter__(self) -> Iterator[Any]:
        self._seen.note(f"{self._path}.", self.loop)
        return iter(self.loop)

    def __len__(self) -> int:
        self._seen.note(f"{self._path}.", self.loop)
        return len(self.loop)

    def __repr__(self) -> str:
        self._seen.note(f"{self._path}.", self.loop)
        return repr(self.loop)

    def keys(self) -> Any:
        """Note all."""
        self._seen.note(f"{self._path}.", self.loop)
        return self.loop.keys()

    def values(self) -> Any:
        """Note all."""
        self._seen.note(f"{self._path}.", self.loop)
        return self.loop.values()

    def items(self) -> Any:
        """Note all."""
        self._seen.note(f"{self._path}.", self.loop)
        return self.loop.items()


def unnoted(names: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return what stands behind those that fragments around have put there."""
    while type(names) is NotedNames:  # isinstance() of an abstract class takes ten times as long
        names = names._names
    return names


def add_dependencies(
    capture: Capture,
    names: Iterable[CanonicalName],
    arguments: Sequence[object],
    dimensions: AbstractSet[str],
    users: Iterable[Any],
) -> bool:
    """Have a capture depend on what a block has shown without reading it.

    An argument, or what it has looked up by name, is told by the key, and the rows in it by their
    tags. What code knows, or a user, a view may have made of all that was read until then, so the
    fragment depends on that. Returns False where that cannot be known, because nobody has noticed
    what was read. ``names``: what stands under those that were asked for.
    """
    is_clear = USER not in dimensions
    for user in () if is_clear else map(without_laziness, users):
        if isinstance(user, Model):
            mistrust_old_permissions(capture, user)
    for argument in arguments:
        is_clear &= add_argument(capture, argument)
    for spelled in names:
        for row in spelled.rows:
            add_instance(capture, row)
        is_clear &= spelled.is_all
    if is_clear:
        return True
    if capture.unit.is_of_one_recall:
        return False
    add_all_seen(capture)
    return True


def add_argument(capture: Capture, argument: object) -> bool:
    """Depend on the rows in an argument. Tell whether the key and these say all of it."""
    argument = without_laziness(argument)
    return add_given(capture, list(argument) if isinstance(argument, QuerySet) else argument)
