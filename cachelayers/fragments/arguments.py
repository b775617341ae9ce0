"""Spell what a fragment was given: values, rows with what was added to them, texts. Used by keys.

A row is told by its key, since changes to it are noticed. What a view has hung on it is not of the
row: another request may have hung something else there.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from types import FunctionType
from typing import Any, cast

from django.db.models import Model, QuerySet
from django.db.models.manager import BaseManager
from django.utils.functional import LazyObject

from cachelayers.entries.spelling import (
    ENCODERS,
    Unstable,
    beginning_of_row,
    spell,
    spell_all,
    spell_instance,
    spell_str,
    unwrap_lazy_object,
)
from cachelayers.invalidation.rows import attributes_of_row, rows_in

ADDRESS = re.compile(r" at 0x[0-9a-f]+>", re.IGNORECASE)  # of an object without a text of its own
PREFETCHED = "_prefetched_objects_cache"  # what prefetch_related() has read, by name
DEEPEST_RELATION = 5  # instances that came with one another; with more it is looked at closely
Seen = dict[int, object]  # what was looked at before, by id; held, for ids are given again


def spell_arguments(arguments: Sequence[object]) -> str:
    """Spell all arguments."""
    try:
        # Nearly all are strings, numbers, rows and the like.
        return "".join([encoders[type(argument)](argument) for argument in arguments])
    except (KeyError, Unstable, RecursionError):
        models: set[Any] = {type(one) for one in arguments if issubclass(type(one), Model)}
        encoders.update({model: speller_of_rows(model) for model in models})
        try:
            return "".join([encoders.get(type(one), spell_alone)(one) for one in arguments])
        except RecursionError:
            raise Unstable("it is nested too deeply, or contains itself") from None


def spell_argument(value: object, seen: Seen) -> str:
    """Spell an argument; what has no spelling is told by its text, as by Django's own tag.

    And by what is in it, since the text of a page of a list is its number.
    """
    if issubclass(type(value), LazyObject):
        value = unwrap_lazy_object(value)
    if issubclass(type(value), BaseManager):
        value = value.all()  # type: ignore[attr-defined] # as mypy does not know by then
    if isinstance(value, Model):
        return spell_instance(value) + spell_added(value, seen)
    if isinstance(value, QuerySet):
        value = list(value)
    try:
        spelling = spell(value)
    except (Unstable, RecursionError):
        return spell_by_text(value, seen)
    added = [spell_added(row, seen) for row in rows_in(value)]
    return spelling + spell_all("+", [spell_str(one) for one in added]) if any(added) else spelling


def spell_by_text(value: object, seen: Seen) -> str:
    """Spell a value by its text and its items."""
    text = str(value)
    if ADDRESS.search(text):
        raise Unstable(f"a {type(value).__qualname__} has no stable key")
    parts = []
    if id(value) not in seen:
        seen[id(value)] = value
        parts = [spell_argument(item, seen) for item in items_of(value)]
    return f"?{spell_str(type(value).__qualname__)}{spell_str(text)}{spell_all('', parts)}"


def items_of(value: object) -> Iterable[object]:
    """Return what is in a container of whatever kind; nothing for what is none."""
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, Collection) else ()


def spell_alone(value: object) -> str:
    """Spell an argument of any kind, in which there may be rows."""
    return spell_argument(value, {})


def speller_of_rows(model: type[Model]) -> Callable[[Model], str]:
    """Return what spells the rows of a model as spell_argument() does, but more quickly."""
    own, key_name = attributes_of_row(model), model._meta.pk.attname
    beginnings: dict[str | None, str] = {}

    def spell_row(instance: Model) -> str:
        # Not in functions of their own: it is asked of each row of a list that is shown.
        values, state = instance.__dict__, instance._state
        if own.issuperset(values) and not state.adding:
            for one in state.fields_cache.values():
                if one is not None and not is_bare(one, DEEPEST_RELATION):
                    break
            else:
                if (key := values.get(key_name)) is not None:
                    beginning = beginnings.get(state.db)
                    if beginning is None:
                        beginning = beginnings[state.db] = beginning_of_row(model, state.db)
                    return beginning + ENCODERS.get(type(key), spell)(key)
        return spell_instance(instance) + spell_added(instance, {})

    return spell_row


def is_bare(instance: Any, depth: int) -> bool:
    """Tell whether it is a row to which nothing was added, nor to those that came with it."""
    if not issubclass(type(instance), Model):  # a lazy object is told by what it stands for
        return False
    model: Any = type(instance)
    if not attributes_of_row(model).issuperset(instance.__dict__):
        return False
    for one in instance._state.fields_cache.values():
        if one is not None and not (depth and is_bare(one, depth - 1)):
            return False
    return True


def spell_added(instance: Model, seen: Seen) -> str:
    """Spell what was added to a row, and to those that came with it; nothing where that is all.

    By `annotate()`, `Prefetch` or hand: whether the user of this request likes the book.
    """
    if id(instance) in seen or is_bare(instance, DEEPEST_RELATION):
        return ""
    seen[id(instance)] = instance
    row, model = attributes_of_row(type(instance)), type(instance)
    parts = [
        spell_str(name) + text
        for name, value in sorted(vars(instance).items())
        if name not in row and (text := spell_attribute(model, name, value, seen))
    ]
    for name, related in sorted(instance._state.fields_cache.items()):
        parts += [
            spell_str(name) + text for one in rows_in(related) if (text := spell_added(one, seen))
        ]
    return spell_all("+", parts) if parts else ""


def spell_attribute(model: type[Model], name: str, value: object, seen: Seen) -> str:
    """Spell what an instance has beside its row; nothing for what its own code keeps there."""
    if is_memo(model, name):
        return ""
    if name == PREFETCHED:
        value = {of: list(rows) for of, rows in cast(Any, value).items()}
    try:
        return spell_argument(value, seen)
    except Unstable:
        if name.startswith("_"):
            return ""
        raise


@lru_cache(maxsize=4096)
def is_memo(model: type[Model], name: str) -> bool:
    """Tell whether a class has a descriptor that keeps its value in its instances."""
    found = inspect.getattr_static(model, name, None)
    return hasattr(found, "__get__") and not isinstance(found, FunctionType)


# Of the types that were met; spell() looks for that of a model's class step by step.
encoders: dict[type, Callable[[Any], str]] = {
    **ENCODERS,
    **dict.fromkeys((list, tuple, dict, set, frozenset), spell_alone),
}
