"""What ``clear_cache`` can make invalid: everything with a tag, everything made from a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from importlib import import_module

from django.apps import apps
from django.conf import settings
from django.core.management.base import CommandError
from django.db import DatabaseError
from django.db.models import Model

from cachelayers.invalidation.invalidate import invalidate
from cachelayers.invalidation.tags import word_tag
from cachelayers.invalidation.tracked import log_database, tracked_models
from cachelayers.invalidation.words import declared_words
from cachelayers.management.clearing import Cleared, Clearing
from cachelayers.management.suggestions import unknown_name
from cachelayers.models import Invalidation

EVERYWHERE = "in every cache and every layer: none is touched, and none serves them any more"


def plan_invalidations(
    tags: Iterable[str], models: Iterable[str], *, any_tag: bool
) -> Iterator[Clearing]:
    """Yield what is to be done; raises CommandError for names that do not exist."""
    for tag in dict.fromkeys(tags):
        check_tag(tag, any_tag=any_tag)
        yield Clearing(
            alias=f"tag {tag!r}",
            what=f"every entry that has it, {EVERYWHERE}",
            run=partial(carry_out, tag),
        )
    for model in dict.fromkeys(map(model_named, models)):
        yield Clearing(
            alias=f"model {model._meta.label}",
            what=f"every entry made from table {model._meta.db_table}, {EVERYWHERE}",
            run=partial(carry_out, model),
        )


def carry_out(target: str | type[Model]) -> Cleared:
    """Invalidate one target."""
    invalidate(target)
    return Cleared(done="invalidated")


def check_tag(tag: str, *, any_tag: bool) -> None:
    """Raise CommandError for what is no tag, or one that nobody has ever heard of."""
    try:
        word_tag(tag)
    except ValueError as error:
        raise CommandError(f"--tag: {error}") from None
    if any_tag:
        return
    known = known_tags()
    if tag not in known:
        raise CommandError(
            f"{unknown_name('tag', tag, sorted(known))} If code makes it up as it runs, as"
            " tags=lambda ... does, add --any-tag."
        )


def known_tags() -> set[str]:
    """Return the tags that code declares, and those that were invalidated before."""
    import_views()
    try:
        return declared_words() | set(logged_words())
    except DatabaseError:  # before the first migrate there is no log
        return declared_words()


def logged_words() -> Iterator[str]:
    """Yield the words in the log."""
    prefix = word_tag("x")[:-1]
    rows = Invalidation.objects.using(log_database()).filter(tag__startswith=prefix)
    for tag in rows.values_list("tag", flat=True).distinct():
        yield tag.removeprefix(prefix)


def import_views() -> None:
    """Import what Django imports with the first request: decorators there declare tags."""
    # A site that does not even import may well need its cache cleared; its log is still known.
    try:
        import_module(settings.ROOT_URLCONF)
    except Exception:  # noqa: BLE001 - it is the site's own code
        return


def model_named(label: str) -> type[Model]:
    """Return the tracked model that ``app.Model`` names; raises CommandError where it is none."""
    known = sorted(model._meta.label for model in tracked_models())
    try:
        model: type[Model] = apps.get_model(label)
    except (LookupError, ValueError):
        raise CommandError(unknown_name("tracked model", label, known)) from None
    if model not in tracked_models():
        raise CommandError(
            f"{model._meta.label} is not tracked, so no entry depends on it. Add"
            f" {model._meta.label!r} to CACHELAYERS['TRACK']; now tracked are:"
            f" {', '.join(known) or 'none'}."
        )
    return model
