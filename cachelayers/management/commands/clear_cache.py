"""The command ``clear_cache``: removes entries and invalidates; `clearing` does the work."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connections
from django.db.models import Model

from cachelayers.clearing import (
    Cleared,
    Clearing,
    ClearingError,
    UnknownName,
    check_fragment,
    check_fragment_syntax,
    check_known_tag,
    check_tag_syntax,
    model_named,
    plan_clear,
    plan_expired,
    plan_log,
    plan_prefix,
    plan_static,
    plan_unused,
    warnings_for,
)
from cachelayers.conf import package_settings
from cachelayers.durations import seconds_of_option
from cachelayers.fragments import tag_of_name
from cachelayers.invalidation import invalidate, remember_user_tags
from cachelayers.utils.suggestions import unknown_name
from cachelayers.utils.text import without_secrets

SHORTEST_UNUSED_SECONDS = 60  # longer than a tombstone lives
EVERYWHERE = "in every cache and layer: nothing is removed, and nothing of it is served any more"


def plan_invalidations(
    tags: Iterable[str], models: Iterable[str], fragments: Iterable[str], *, any_tag: bool
) -> Iterator[Clearing]:
    """Yield the plans. CommandError for names that do not exist."""
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
            run=partial(carry_out, tag_of_name(name)),
        )
    for model in dict.fromkeys(map(find_model, models)):
        yield Clearing(
            alias=f"model {model._meta.label}",
            what=f"every entry made from table {model._meta.db_table}, {EVERYWHERE}",
            run=partial(carry_out, model),
        )


def carry_out(target: str | type[Model]) -> Cleared:
    """Invalidate one target; the plan has warned of an unknown tag."""
    if isinstance(target, str):
        remember_user_tags([target])
    invalidate(target)
    return Cleared(done="invalidated")


def check_tag(tag: str, *, any_tag: bool) -> str:
    """Return a warning for an unknown tag. CommandError for an invalid one."""
    try:
        check_tag_syntax(tag)
    except UnknownName as error:
        raise CommandError(f"--tag: {error}") from None
    if any_tag:
        return ""
    try:
        check_known_tag(tag)
    except UnknownName as error:
        return (
            f"{error} It is invalidated anyway. If code computes it at run time, like"
            " tags=lambda ..., --any-tag leaves this warning out."
        )
    return ""


def check_name_of_fragment(name: str, *, any_tag: bool) -> None:
    """Raise CommandError for an invalid name of a fragment, or one in no template."""
    try:
        if any_tag:
            check_fragment_syntax(name)
        else:
            check_fragment(name)
    except UnknownName as error:
        raise CommandError(
            f"--fragment: {error} If a template computes it during rendering, add --any-tag."
        ) from None


def find_model(label: str) -> type[Model]:
    """Return a tracked model. Raises CommandError."""
    try:
        return model_named(label)
    except UnknownName as error:
        raise CommandError(str(error)) from None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The options as typed."""

    aliases: list[str]
    everything: bool
    prefix: str | None
    expired: bool
    unused_for: float | None
    static: bool
    tags: list[str]
    models: list[str]
    fragments: list[str]
    any_tag: bool

    @property
    def is_invalidation(self) -> bool:
        """Tell whether entries are invalidated in every cache, and none are removed."""
        return bool(self.tags or self.models or self.fragments)

    @property
    def is_whole(self) -> bool:
        """Tell whether aliases are emptied completely."""
        return not (self.is_searched or self.static)

    @property
    def is_searched(self) -> bool:
        """Tell whether entries are removed by their key or their age."""
        return self.expired or self.prefix is not None or self.unused_for is not None


class Command(BaseCommand):
    """Removes entries from caches."""

    help = (
        "Remove entries from the caches that are named; says what it will remove, and asks. "
        "Without a target it is an error."
    )
    # A site whose checks fail may need its cache cleared.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_names(parser, "--cache", "ALIAS", "One or several aliases of CACHES.")
        parser.add_argument("--all", action="store_true", help="Every alias of CACHES.")
        parser.add_argument(
            "--prefix",
            metavar="P",
            help="Only entries whose key begins with P, in the aliases chosen or else in all "
            "that can be searched.",
        )
        parser.add_argument(
            "--expired",
            action="store_true",
            help="Only entries that have expired, in the aliases chosen or else in all.",
        )
        parser.add_argument(
            "--unused-for",
            metavar="TIME",
            help="Only entries that were not written for so long, as in 3600, 12h or 7d, and not"
            " seen to be read, in the aliases chosen or else in all that know. Redis knows exactly."
            " A DatabaseCache with a bound notes one read in sixteen, and stores that after some of"
            " its writes; without a bound it does not know. At least 60 seconds.",
        )
        parser.add_argument(
            "--static",
            action="store_true",
            help="Only the ids of static files, in the alias that CACHELAYERS['ALIAS'] names.",
        )
        add_names(
            parser,
            "--tag",
            "TAG",
            "Everything with this tag, in every cache, as invalidate() does; one or several.",
        )
        add_names(
            parser,
            "--model",
            "APP.MODEL",
            "Everything made from this model's table, in every cache; one or several.",
        )
        add_names(
            parser,
            "--fragment",
            "NAME",
            "Every variant of the fragment of this name, in every cache; one or several.",
        )
        parser.add_argument(
            "--any-tag",
            action="store_true",
            help="Do not warn of a --tag that no code declares, and take a --fragment that no"
            " template names: one that is made up as the code runs.",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Say what would be removed, and stop."
        )
        parser.add_argument(
            "--no-input",
            "--noinput",
            action="store_false",
            dest="interactive",
            help="Do not ask.",
        )

    def handle(self, **options: Any) -> None:
        """Plan, announce, ask, clear, report."""
        choice = check_choice(options)
        clearings, unplanned = self._plan(choice)
        if not options["dry_run"] and clearings:
            self._ask(interactive=options["interactive"])
            unplanned += [each.alias for each in clearings if not self._clear(each)]
        if unplanned:
            aliases = ", ".join(map(repr, unplanned))
            raise CommandError(f"Not cleared: {aliases}; the reasons are above.")

    def _plan(self, choice: Choice) -> tuple[list[Clearing], list[str]]:
        """Announce each alias; the second list contains the aliases that failed."""
        clearings: list[Clearing] = []
        failed: list[str] = []
        # Before any output, so that a wrong name gives only its error.
        invalidations = list(
            plan_invalidations(choice.tags, choice.models, choice.fragments, any_tag=choice.any_tag)
        )
        self.stdout.write("To be removed:")
        for each in invalidations:
            clearings.append(each)
            self._announce(choice, each)
        for alias in aliases_of(choice):
            try:
                clearings.append(plan_one(choice, alias))
            except ClearingError as reason:
                self._pass_over(choice, alias, reason)
            # Backends raise errors of their libraries, which have no common base class.
            except Exception as error:  # noqa: BLE001
                self._report_failure(alias, error)
                failed.append(alias)
            else:
                self._announce(choice, clearings[-1])
        for each in self._plan_logs(choice, failed):
            clearings.append(each)
            self._announce(choice, each)
        if not clearings and not failed:
            self._nothing_to_do(choice)
        return clearings, failed

    def _plan_logs(self, choice: Choice, failed: list[str]) -> Iterator[Clearing]:
        """Plan the logs, if everything is cleared, also those restored from a dump."""
        if not (choice.everything and choice.is_whole):
            return
        for database in connections:
            try:
                planned = plan_log(database)
            except DatabaseError as error:
                self._report_failure(f"DATABASES[{database!r}]", error)
                failed.append(database)
            else:
                if planned is not None:
                    yield planned

    def _announce(self, choice: Choice, clearing: Clearing) -> None:
        self.stdout.write(f"  {clearing.title}: {clearing.what}")
        if clearing.warning:
            self.stdout.write(self.style.WARNING(f"    Warning: {clearing.warning}"))
        if choice.is_whole and clearing.alias in settings.CACHES:
            for warning in warnings_for(clearing.alias):
                self.stdout.write(self.style.WARNING(f"    Note: {warning}."))

    def _pass_over(self, choice: Choice, alias: str, reason: ClearingError) -> None:
        if choice.prefix is not None and alias in choice.aliases:
            raise CommandError(
                f"CACHES[{alias!r}] cannot be cleared by prefix: {reason}. "
                f"Leave out --cache {alias}, or clear it as a whole without --prefix."
            )
        self.stdout.write(f"  {alias}: left alone, {reason}")

    def _nothing_to_do(self, choice: Choice) -> None:
        if choice.prefix is not None:
            raise CommandError("No alias of CACHES can be searched by prefix. Use --cache ALIAS.")
        self.stdout.write("  nothing")

    def _ask(self, *, interactive: bool) -> None:
        if not interactive:
            return
        if not sys.stdin.isatty():
            raise CommandError(
                "Nothing was removed: there is no terminal to ask on. Add --no-input."
            )
        try:
            answer = input("Type 'yes' to remove this: ")
        except EOFError:
            answer = ""
        except KeyboardInterrupt:
            raise CommandError("Interrupted; nothing was removed.", returncode=130) from None
        if answer.strip().lower() != "yes":
            raise CommandError("Nothing was removed.")

    def _clear(self, clearing: Clearing) -> bool:
        try:
            cleared = clearing.run()
        # Backends raise errors of their libraries, which have no common base class.
        except Exception as error:  # noqa: BLE001
            self._report_failure(clearing.alias, error)
            return False
        self.stdout.write(self.style.SUCCESS(f"{clearing.alias}: {cleared}"))
        for layer, what in cleared.layers:
            self.stdout.write(f"  {layer}: {what}")
        return not cleared.left

    def _report_failure(self, alias: str, error: Exception) -> None:
        text = without_secrets(f"{type(error).__name__}: {error}")
        self.stderr.write(f"{alias}: failed: {text}")


def add_names(parser: ArgumentParser, option: str, metavar: str, text: str) -> None:
    """Declare an option that takes several names and can be repeated."""
    parser.add_argument(option, action="extend", nargs="+", default=[], metavar=metavar, help=text)


def check_choice(options: dict[str, Any]) -> Choice:
    """Return the options, checked against each other and against CACHES."""
    unused_for = options["unused_for"]
    choice = Choice(
        aliases=list(dict.fromkeys(options["cache"])),
        everything=options["all"],
        prefix=options["prefix"],
        expired=options["expired"],
        unused_for=None if unused_for is None else seconds_of_option(unused_for),
        static=options["static"],
        tags=options["tag"],
        models=options["model"],
        fragments=options["fragment"],
        any_tag=options["any_tag"],
    )
    _check_target(choice)
    for alias in choice.aliases:
        if alias not in settings.CACHES:
            raise CommandError(unknown_name("alias in CACHES", alias, settings.CACHES))
    return choice


def aliases_of(choice: Choice) -> list[str]:
    """Return the aliases to clear, in order."""
    if choice.static:
        return [package_settings().ALIAS]
    if choice.is_invalidation:
        return []
    return choice.aliases or list(settings.CACHES)


def plan_one(choice: Choice, alias: str) -> Clearing:
    """Return the plan for one alias. ClearingError if its backend cannot do it."""
    plan: Callable[[str], Clearing] = plan_clear
    if choice.prefix is not None:
        plan = partial(plan_prefix, prefix=choice.prefix)
    elif choice.expired:
        plan = plan_expired
    elif choice.unused_for is not None:
        plan = partial(plan_unused, seconds=choice.unused_for)
    elif choice.static:
        plan = plan_static
    return plan(alias)


def _check_target(choice: Choice) -> None:
    is_searched = choice.is_searched
    has_aliases = choice.aliases or choice.everything or is_searched or choice.static
    if not (has_aliases or choice.is_invalidation):
        raise CommandError(
            "Nothing was named to clear. Give --cache ALIAS, --all, --tag TAG, --model APP.MODEL,"
            " --fragment NAME, --prefix P, --expired, --unused-for TIME or --static."
        )
    if has_aliases and choice.is_invalidation:
        raise CommandError(
            "--tag, --model and --fragment are for every cache, and cannot be combined with"
            " --cache, --all, --prefix, --expired, --unused-for or --static. Run one after the"
            " other."
        )
    if choice.static and (choice.aliases or choice.everything or is_searched):
        raise CommandError("--static cannot be combined with others. Run one after the other.")
    if choice.aliases and choice.everything:
        raise CommandError("--cache and --all contradict each other. Give one of them.")
    if choice.prefix is not None and choice.expired:
        raise CommandError("--prefix and --expired cannot be combined. Run one after the other.")
    if choice.unused_for is not None:
        _check_unused_for(choice, choice.unused_for)
    if choice.prefix == "":
        raise CommandError("--prefix is empty, which is every key. Use --cache ALIAS or --all.")


def _check_unused_for(choice: Choice, seconds: float) -> None:
    if choice.prefix is not None or choice.expired:
        raise CommandError(
            "--unused-for cannot be combined with --prefix or --expired. Run one after the other."
        )
    if not SHORTEST_UNUSED_SECONDS <= seconds < float("inf"):
        raise CommandError(
            f"--unused-for takes a number of {SHORTEST_UNUSED_SECONDS} or more, or a text such as"
            " '12h' or '7d'."
        )
