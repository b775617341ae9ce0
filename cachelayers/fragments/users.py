"""Tell users apart: by their row, and by everything that code has added to the instance.

A second factor that was verified, or somebody who impersonates the user, is hung on the instance
by a middleware. It is not in the row, and another session of the same user may lack it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from django.db.models import Model

from cachelayers.entries.spelling import (
    Unstable,
    find_by_name,
    path_of,
    path_of_class,
    spell,
    spell_all,
    spell_instance,
    spell_str,
    unwrap_lazy_object,
)
from cachelayers.fragments.arguments import spell_added, spell_arguments
from cachelayers.invalidation.rows import attributes_of_row, rows_in

NOBODY = "N"
# What Django itself keeps in an instance. It follows from the rows, or from how a login was made.
MEMOS = frozenset({"_perm_cache", "_user_perm_cache", "_group_perm_cache", "backend", "_password"})


def identity_of(user: Any) -> str:
    """Return what tells one user from all others; Unstable where nothing does."""
    user = unwrap_lazy_object(user)
    if user is None:
        return NOBODY
    attributes = getattr(user, "__dict__", {})
    if isinstance(user, Model):
        beginning = spell_instance(user) + spell_related(user)
        row = attributes_of_row(type(user))
        added = {name: value for name, value in attributes.items() if name not in row}
    else:
        beginning = spell_str(path_of_class(type(user))) + spell_key(user)
        added = dict(attributes)
    added = {name: value for name, value in added.items() if name not in MEMOS}
    return f"{beginning}{spell_additions(user, added)}"


def spell_key(user: Any) -> str:
    """Spell the key of a user who is no row."""
    key = getattr(user, "pk", None)
    if key is None and getattr(user, "is_anonymous", False) is not True:
        raise Unstable("the user has no key")
    return spell(key)


def spell_related(user: Model) -> str:
    """Spell what was added to the rows that came with the user's."""
    related = user._state.fields_cache
    return spell_all(
        "+",
        [
            spell_str(name) + text
            for name in sorted(related)
            for row in rows_in(related[name])
            if (text := spell_added(row, {id(user): user}))
        ],
    )


def spell_additions(user: object, added: Mapping[str, object]) -> str:
    """Spell what code has set on the instance."""
    parts = [spell_str(name) + spell_addition(user, value) for name, value in sorted(added.items())]
    return spell_all("+", parts)


def spell_addition(user: object, value: object) -> str:
    """Spell a value, or a function that is found by its name, with what is bound to it."""
    value = unwrap_lazy_object(value)
    if value is user:
        return "@"
    if type(value) is partial:
        bound = [value.func, *value.args, *value.keywords.values()]
        names = spell([*value.keywords])
        return spell_all("&", [names, *(spell_addition(user, one) for one in bound)])
    if type(value) is MethodType:
        return spell_all(
            "m", [spell_addition(user, value.__func__), spell_addition(user, value.__self__)]
        )
    if type(value) is FunctionType:
        return spell_function(value)
    spell(value)  # Unstable for what only has a text
    return spell_arguments([value])


def spell_function(function: FunctionType) -> str:
    """Spell a function by its name; Unstable where it holds values that the name does not say."""
    if find_by_name(function.__module__, function.__qualname__) is not function:
        raise Unstable(f"the function {function.__qualname__} cannot be found under its name")
    return spell_str(path_of(function))
