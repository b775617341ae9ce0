"""Tell users apart: by their row, and by everything that code has added to the instance.

A second factor that was verified, or somebody who impersonates the user, is hung on the instance
by a middleware. It is not in the row, and another session of the same user may lack it.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Model

from cachelayers.entries.spelling import (
    Unstable,
    path_of_class,
    spell,
    spell_instance,
    spell_str,
    unwrap_lazy_object,
)
from cachelayers.fragments.arguments import (
    DEEPEST_RELATION,
    Speller,
    is_bare,
    spell_arguments,
)
from cachelayers.invalidation.rows import attributes_of_row

NOBODY = "N"
# What Django itself keeps in an instance. It follows from the rows, or from how a login was made.
MEMOS = frozenset({"_perm_cache", "_user_perm_cache", "_group_perm_cache", "backend", "_password"})


def identity_of(user: Any) -> str:
    """Return what tells one user from all others; Unstable where nothing does."""
    user = unwrap_lazy_object(user)
    if user is None:
        return NOBODY
    if isinstance(user, Model):
        own = attributes_of_row(type(user))
        # With its fields: middleware may have changed one for this request, such as is_staff.
        beginning = spell_instance(user) + Speller(is_named=True).spell_fields(user)
        if user._state.fields_cache:
            beginning += spell_related(user)
    else:
        own = frozenset()
        beginning = spell_str(path_of_class(type(user))) + spell_key(user)
    attributes = getattr(user, "__dict__", {})
    if own.issuperset(attributes):
        return beginning
    speller = Speller()
    speller.meet(user)  # a function that is hung on the user may hold the user
    added = {name: attributes[name] for name in attributes.keys() - own - MEMOS}
    return beginning + speller.spell_attributes(added) if added else beginning


def spell_key(user: Any) -> str:
    """Spell the key of a user who is no row."""
    key = getattr(user, "pk", None)
    if key is None and getattr(user, "is_anonymous", False) is not True:
        raise Unstable("the user has no key")
    return spell(key)


def spell_related(user: Model) -> str:
    """Spell the rows that came with the user's, where something was added to them."""
    related = user._state.fields_cache
    return "".join(
        [
            spell_str(name) + spell_arguments([row])
            for name in sorted(related)
            if (row := unwrap_lazy_object(related[name])) is not None
            and not is_bare(row, DEEPEST_RELATION)
        ]
    )
