"""What ``clear_cache`` can make invalid: what has a tag, was made from a model, is a fragment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from django.core.management.base import CommandError
from django.db.models import Model

from cachelayers.clearing.names import (
    UnknownName,
    check_fragment,
    check_spelling,
    check_spelling_of_fragment,
    check_word,
    model_named,
)
from cachelayers.clearing.plans import Cleared, Clearing
from cachelayers.fragments.keys import word_of
from cachelayers.invalidation.invalidate import invalidate
from cachelayers.invalidation.words import note_words

EVERYWHERE = "in every cache and every layer: none is touched, and none serves them any more"


def plan_invalidations(
    tags: Iterable[str], models: Iterable[str], fragments: Iterable[str], *, any_tag: bool
) -> Iterator[Clearing]:
    """Yield what is to be done; raises CommandError for names that do not exist."""
    for tag in dict.fromkeys(tags):
        yield Clearing(
            alias=f"tag {tag!r}",
            what=f"every entry that has it, {EVERYWHERE}",
            run=partial(carry_out, tag),
            warning=check_tag(tag, any_tag=any_tag),
        )
    for name in dict.fromkeys(fragments):
        check_name_of_fragment(name, any_tag=any_tag)
        yield Clearing(
            alias=f"fragment {name!r}",
            what=f"every variant of it, {EVERYWHERE}",
            run=partial(carry_out, word_of(name)),
        )
    for model in dict.fromkeys(map(find_model, models)):
        yield Clearing(
            alias=f"model {model._meta.label}",
            what=f"every entry made from table {model._meta.db_table}, {EVERYWHERE}",
            run=partial(carry_out, model),
        )


def carry_out(target: str | type[Model]) -> Cleared:
    """Invalidate one target; the plan has warned of an unknown tag already."""
    if isinstance(target, str):
        note_words([target])
    invalidate(target)
    return Cleared(done="invalidated")


def check_tag(tag: str, *, any_tag: bool) -> str:
    """Return a warning of a tag that nothing is known by; raises CommandError for what is none."""
    try:
        check_spelling(tag)
    except UnknownName as error:
        raise CommandError(f"--tag: {error}") from None
    if any_tag:
        return ""
    try:
        check_word(tag)
    except UnknownName as error:
        return (
            f"{error} It is invalidated all the same. If code makes it up as it runs, as"
            " tags=lambda ... does, --any-tag leaves this warning out."
        )
    return ""


def check_name_of_fragment(name: str, *, any_tag: bool) -> None:
    """Raise CommandError for what is no name of a fragment, or one that no template has."""
    try:
        if any_tag:
            check_spelling_of_fragment(name)
        else:
            check_fragment(name)
    except UnknownName as error:
        raise CommandError(
            f"--fragment: {error} If a template works it out as it is rendered, add --any-tag."
        ) from None


def find_model(label: str) -> type[Model]:
    """Return a tracked model; raises CommandError where it is none."""
    try:
        return model_named(label)
    except UnknownName as error:
        raise CommandError(str(error)) from None
