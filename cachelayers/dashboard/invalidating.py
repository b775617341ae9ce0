"""Previews and executes what an operator has chosen to invalidate or clear.

The admin's invalidate screen and the pages of tracked models use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import django.db
from django.conf import settings
from django.core.cache import caches
from django.core.exceptions import ValidationError
from django.db import models, router, transaction
from django.db.models import Max
from django.db.models import Model as Row
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from cachelayers.backends import ALL_ENTRIES, LayeredCache
from cachelayers.clearing import (
    Clearing,
    ClearingError,
    UnknownName,
    check_fragment_syntax,
    check_tag_syntax,
    known_fragments,
    known_tags,
    model_named,
    plan_clear,
    plan_prefix,
    plan_unused,
    warnings_for,
)
from cachelayers.conf import package_settings
from cachelayers.dashboard.entries import Count, count_made_from
from cachelayers.fragments import tag_of_name
from cachelayers.invalidation import (
    TAGS_PER_STATEMENT,
    Target,
    key_tag,
    log_database,
    models_declaring,
    tags_of_target,
    tracked_models,
    user_tag,
    write_invalidations,
)
from cachelayers.models import Invalidation
from cachelayers.utils.suggestions import unknown_name
from cachelayers.utils.text import without_secrets

Model = type[models.Model]


def labels_of_tracked() -> dict[str, Model]:
    """Return the tracked models by label, sorted."""
    found = {model._meta.label: model for model in tracked_models()}
    return dict(sorted(found.items()))


def row_named(text: str) -> models.Model:
    """Return the row for a text such as ``shop.Product 42``."""
    label, _, key = text.partition(" ")
    model = model_named(label)
    if not key.strip():
        raise UnknownName(f"{text!r} names no row. Write model and primary key: '{label} 42'.")
    rows = model._base_manager.using(router.db_for_write(model))
    try:
        row = rows.filter(pk=key.strip()).first()
    except (ValidationError, ValueError, TypeError, OverflowError):
        row = None
    if row is None:
        raise UnknownName(f"There is no {model._meta.label} with the primary key {key.strip()!r}.")
    return row


def row_tags(row: models.Model) -> frozenset[str]:
    """Return the tags of entries that were made from a row itself, not from queries."""
    return frozenset(tag for _, tag in tags_of_target(row, None) if not tag.startswith("table:"))


def checked_tags(tags: Iterable[str]) -> list[str]:
    """Return the tags. Raise UnknownName for one that no tag can be; others may be unknown."""
    names = list(dict.fromkeys(tags))
    for name in names:
        check_tag_syntax(name)
    return names


def checked_fragments(names: Iterable[str]) -> list[str]:
    """Return the names of fragments, in the same way."""
    found = list(dict.fromkeys(names))
    for name in found:
        check_fragment_syntax(name)
    return found


MOST_CHARACTERS = 300  # of an error message


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What to invalidate, checked.

    With a prefix or a time, only such entries are cleared.
    """

    tags: tuple[str, ...] = ()
    fragments: tuple[str, ...] = ()
    models: tuple[Model, ...] = ()
    rows: tuple[Row, ...] = ()
    aliases: tuple[str, ...] = ()
    prefix: str = ""
    unused_for: int | None = None  # seconds

    def targets(self) -> list[Target]:
        """Return the arguments of invalidate()."""
        fragments = [tag_of_name(name) for name in self.fragments]
        return [*self.tags, *fragments, *self.models, *self.rows]

    def clears(self) -> bool:
        """Tell whether entries are removed, in addition to invalidations."""
        return bool(self.aliases or self.is_searched())

    def is_searched(self) -> bool:
        """Tell whether aliases are cleared in part."""
        return bool(self.prefix or self.unused_for)

    def describe(self) -> str:
        """Return all of it in one line."""
        return ", ".join(f"{touched.kind} {touched.name}" for touched in self.named())

    def named(self) -> Iterator[Touched]:
        """Yield each target with its kind and name."""
        yield from (Touched(_("tag"), tag) for tag in self.tags)
        yield from (Touched(_("fragment"), name) for name in self.fragments)
        yield from (Touched(_("model"), model._meta.label) for model in self.models)
        yield from (Touched(_("row"), name_of_row(row)) for row in self.rows)
        if self.prefix:
            yield Touched(_("prefix"), self.prefix)
        if self.unused_for:
            yield Touched(_("unused for seconds"), str(self.unused_for))
        yield from (Touched(_("alias"), alias) for alias in self.aliases)


@dataclass(frozen=True)
class Touched:
    """One target, and the effect on entries."""

    kind: str
    name: str
    what: str = ""
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Done:
    """The result in one log, cache or layer."""

    place: str
    layer: str
    what: str
    is_done: bool


@dataclass(frozen=True)
class Outcome:
    """All results, and the ids of the rows written to each database's log."""

    done: list[Done]
    rows: dict[str, list[int]]


# Preview


def preview(choice: Choice, may_view: Callable[[Row], bool]) -> list[Touched]:
    """Return for each target what it will affect.

    ``may_view`` tells whether the user may see a row's name.
    """
    return [
        *preview_of_tags(choice.tags),
        *preview_of_fragments(choice.fragments),
        *(Touched(_("model"), model._meta.label, of_model(model)) for model in choice.models),
        *(
            Touched(_("row"), name_of_row(row), of_row(row, is_named=may_view(row)))
            for row in choice.rows
        ),
        *(preview_of_alias(choice, alias) for alias in aliases_of(choice)),
    ]


def preview_of_tags(tags: Iterable[str]) -> list[Touched]:
    """Return which entries have the tags, with a warning for each unknown one."""
    known = known_tags() if tags else set()
    return [
        Touched(_("tag"), tag, entries_with(tag), warnings_of_unknown("tag", tag, known))
        for tag in tags
    ]


def entries_with(tag: str) -> str:
    """Return which entries have a tag."""
    declaring = ", ".join(model._meta.label for model in models_declaring(user_tag(tag)))
    if declaring:
        return _("Every entry with this tag, as each write to %s does.") % declaring
    return _("Every entry with this tag.")


def preview_of_fragments(names: Iterable[str]) -> list[Touched]:
    """Return what becomes of fragments, with a warning for each unknown one."""
    known = known_fragments() if names else set()
    what = _("Every fragment of this name, whatever it was made of.")
    return [
        Touched(_("fragment"), name, what, warnings_of_unknown("fragment", name, known))
        for name in names
    ]


def warnings_of_unknown(kind: str, name: str, known: set[str]) -> list[str]:
    """Return a warning with similar names, if a name is unknown.

    No error: only other processes may have stored entries with it, and an incident cannot wait.
    """
    if name in known:
        return []
    return [
        _("%s It is invalidated anyway: entries of other processes may have it.")
        % unknown_name(kind, name, sorted(known))
    ]


def of_model(model: Model) -> str:
    """Return which entries depend on a model."""
    return _("Every entry that was made from %s: from queries and from single rows.") % (
        model._meta.verbose_name_plural
    )


def of_row(row: Row, *, is_named: bool) -> str:
    """Return which entries depend on a row, or on queries that may have found it."""
    text = _(
        "Every entry that was made from this row, and those made from queries on %(models)s,"
        " which may have found it."
    )
    if is_named:
        text = _(
            "Every entry that was made from this row (%(row)s), and those made from queries on"
            " %(models)s, which may have found it."
        )
    return text % {"row": row, "models": row._meta.verbose_name_plural}


def preview_of_alias(choice: Choice, alias: str) -> Touched:
    """Return what clearing an alias removes, or the error of its backend."""
    try:
        clearing = plan(choice, alias)
        warnings = [] if choice.is_searched() else list(warnings_for(alias))
    except ClearingError as reason:
        return Touched(_("alias"), alias, "", [_("Left alone: %s.") % reason])
    # Backends raise errors of their libraries, which have no common base class.
    except Exception as error:  # noqa: BLE001
        return Touched(_("alias"), alias, "", [error_text(error)])
    warnings += [clearing.warning.rstrip(".")] if clearing.warning else []
    warnings = [f"{one[0].upper()}{one[1:]}." for one in warnings]
    return Touched(_("alias"), alias, f"{clearing.backend}: {clearing.what}", warnings)


def aliases_of(choice: Choice) -> list[str]:
    """Return the chosen aliases; all of them if only a prefix or a time is given."""
    return list(choice.aliases or (settings.CACHES if choice.is_searched() else ()))


def plan(choice: Choice, alias: str) -> Clearing:
    """Return the plan for an alias."""
    make: Callable[[str], Clearing] = plan_clear
    if choice.prefix:
        make = partial(plan_prefix, prefix=choice.prefix)
    elif choice.unused_for:
        make = partial(plan_unused, seconds=choice.unused_for)
    return make(alias)


# Execution


def carry_out(choice: Choice) -> Outcome:
    """Invalidate, then clear. Failures are reported, and the rest is done."""
    done: list[Done] = []
    rows: dict[str, list[int]] = {}
    if targets := choice.targets():
        try:
            counted = count_dependents(targets)
            rows = invalidate_and_find(targets)
        except django.db.Error as error:
            done.append(Done(_("the log"), "", error_text(error), False))
        else:
            done += [in_log(database, found) for database, found in rows.items()]
            done.append(Done(_("entries"), "", ended(counted), True))
            done += untouched_layers()
    newest = newest_row()
    for alias in aliases_of(choice):
        done += clear_alias(choice, alias)
        rows.setdefault(log_database(), []).extend(rows_of_bus(alias, newest))
    return Outcome(done, rows)


COUNTING_SECONDS = 1.0


def count_dependents(targets: list[Target]) -> Count:
    """Count the entries that depend on the targets, as far as can be seen in a short time."""
    tags = {tag for target in targets for _, tag in tags_of_target(target, None)}
    return count_made_from(tags, COUNTING_SECONDS)


def ended(count: Count) -> str:
    """Return how many entries were ended."""
    text = ngettext(
        "%d entry in the tables and in the memory of this process was made from it.",
        "%d entries in the tables and in the memory of this process were made from it.",
        count.entries,
    )
    more = "" if count.is_whole else _(" There may be more: the search was ended after a second.")
    return text % count.entries + more


def newest_row() -> int:
    """Return the newest id in the log that holds tags and keys."""
    log = Invalidation.objects.using(log_database())
    return log.order_by("-id").values_list("id", flat=True).first() or 0


def invalidate_and_find(targets: list[Target]) -> dict[str, list[int]]:
    """Invalidate, atomically in each database; return the ids of the log's rows."""
    tags: dict[str, list[str]] = {}
    for target in targets:
        for database, tag in tags_of_target(target, None):
            tags.setdefault(database, []).append(tag)
    with ExitStack() as stack:
        for database in tags:
            stack.enter_context(transaction.atomic(using=database))
        write_invalidations(tags)
        return {database: rows_of(database, some) for database, some in tags.items()}


def rows_of(database: str, tags: list[str]) -> list[int]:
    """Return the id of each tag's newest row; in the transaction, these were just written."""
    found: list[int] = []
    for start in range(0, len(tags), TAGS_PER_STATEMENT):
        part = tags[start : start + TAGS_PER_STATEMENT]
        log = Invalidation.objects.using(database).filter(tag__in=part).order_by("tag")
        found += [each["newest"] for each in log.values("tag").annotate(newest=Max("id"))]
    return found


def rows_of_bus(alias: str, newest: int) -> list[int]:
    """Return the rows that published the clearing of an alias, if the log is its bus."""
    log = Invalidation.objects.using(log_database())
    told_all = log.filter(id__gt=newest, tag=key_tag(alias, ALL_ENTRIES))
    return list(told_all.values_list("id", flat=True))


def in_log(database: str, rows: list[int]) -> Done:
    """Return the result for the log."""
    what = ngettext("%d row was logged.", "%d rows were logged.", len(rows)) % len(rows)
    return Done(_("the log in %s") % database, "", what, True)


def untouched_layers() -> list[Done]:
    """Return the layers used by recall(), whose entries need not be removed."""
    alias = package_settings().ALIAS
    what = _("Nothing removed: what was made of it is not served any more, and replaced when asked")
    return [
        Done(alias, layer["alias"], state_of(layer) or f"{what}.", not layer["error"])
        for layer in layers_of(alias)
    ] or [Done(alias, "", f"{what}.", True)]


def clear_alias(choice: Choice, alias: str) -> list[Done]:
    """Clear one alias, and return the result for each layer."""
    try:
        cleared = plan(choice, alias).run()
    except ClearingError as reason:
        return [Done(alias, "", _("Left alone: %s.") % reason, not choice.aliases)]
    # Backends raise errors of their libraries, which have no common base class.
    except Exception as error:  # noqa: BLE001
        return [Done(alias, "", error_text(error), False)]
    if not cleared.layers:
        return [Done(alias, "", str(cleared), True)]
    return [Done(alias, layer, what, layer not in cleared.left) for layer, what in cleared.layers]


def layers_of(alias: str) -> list[dict[str, Any]]:
    """Return the state of each layer; empty for other caches."""
    cache = caches[alias]
    return cache.describe_layers() if isinstance(cache, LayeredCache) else []


def state_of(layer: dict[str, Any]) -> str:
    """Return that a layer is skipped, or ""."""
    if not layer["error"]:
        return ""
    return _("Skipped, it fails: %s. It begins anew when it is back.") % without_secrets(
        str(layer["error"])[:MOST_CHARACTERS]
    )


def error_text(error: Exception) -> str:
    """Return the text of an error for an operator."""
    text = without_secrets(f"{type(error).__name__}: {error}")
    return _("Failed: %s") % text[:MOST_CHARACTERS]


def name_of_row(row: Row) -> str:
    """Return a row's text in the format of ``row_named``."""
    return f"{row._meta.label} {row.pk}"
