"""The name, options, arguments and loop of a fragment's tag.

They are compiled once per tag and checked at each use, for Django's templates and for Jinja2.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.conf import settings
from django.template import Context, TemplateSyntaxError
from django.template.base import FilterExpression, Parser

from cachelayers import durations
from cachelayers.conf import package_settings
from cachelayers.fragments.keys import check_name
from cachelayers.lookup import UNSET, cached_user_tags, cap_timeout, freshness_of

logger = logging.getLogger("cachelayers.fragments")
# Django's own {% cache %} tag uses the cache with this alias, if there is one.
FRAGMENTS_ALIAS = "template_fragments"
OPTION_NAMES = ("timeout", "stale", "tags", "using", "freshness")
OPTION = re.compile(r"(\w+)=(.+)", re.DOTALL)


class TagOptions(NamedTuple):
    """The checked options of a tag, without its arguments."""

    name: str
    alias: str
    timeout: float | None
    stale: float
    tags: tuple[str, ...]
    freshness: float


class Options:
    """The compiled options and arguments of a tag."""

    def __init__(
        self,
        name: FilterExpression,
        arguments: Sequence[FilterExpression],
        options: Mapping[str, FilterExpression],
    ) -> None:
        self.arguments = arguments
        self.argument_names = frozenset(filter(None, map(argument_name, arguments)))
        self._name, self._options = name, options
        self._is_constant = all(is_constant(part) for part in (name, *options.values()))
        self._warned: set[str] = set()
        # The checked options if all are constants, and the settings used to check them.
        self._constant_options: tuple[TagOptions, object] | None = None

    def warn_of_missing(self, context: Context, where: str) -> None:
        """Warn once about each argument whose name does not exist."""
        for argument in self.arguments:
            if is_missing(argument, context):
                warn_of_missing(where, str(argument), self._warned)

    def read(self, context: Context, where: str) -> TagOptions:
        """Return the checked options. Raises TemplateSyntaxError."""
        known, settings_now = self._constant_options, package_settings()
        if known is not None and known[1] is settings_now:
            return known[0]
        values = {name: option.resolve(context) for name, option in self._options.items()}
        checked = check_options(where, self._name.resolve(context), values)
        if self._is_constant:
            self._constant_options = checked, settings_now
        return checked


def argument_name(argument: FilterExpression) -> str | None:
    """Return the name, or the path in a loop, whose value the argument is; None if it is more."""
    path = getattr(argument.var, "lookups", None)
    if argument.filters or not path or (len(path) > 1 and path[0] != "forloop"):
        return None
    return ".".join(map(str, path))


def warn_of_missing(where: str, argument: object, warned: set[str]) -> None:
    """Warn once that the name of an argument does not exist."""
    if str(argument) not in warned:
        warned.add(str(argument))
        logger.warning(
            "%s: the argument %r of the fragment does not exist. Check how it is spelled.",
            where,
            str(argument),
        )


def is_missing(argument: FilterExpression, context: Context) -> bool:
    """Tell whether the first name of an argument does not exist."""
    path = getattr(argument.var, "lookups", None)
    if not path or path[0] in context:
        return False
    # A default filter is written for a name that may be missing.
    return not any(function.__name__.startswith("default") for function, _ in argument.filters)


def is_constant(part: FilterExpression) -> bool:
    """Tell whether an expression has the same value in each context."""
    variable = part.var
    is_literal = isinstance(variable, str) or getattr(variable, "literal", None) is not None
    return not part.filters and (is_literal or str(part) == "None")


def compile_options(parser: Parser, tag: str, parts: Sequence[str]) -> Options:
    """Compile the rest of a tag. Raises TemplateSyntaxError."""
    if not parts:
        raise TemplateSyntaxError(f'{{% {tag} %}} has no name. Write one: {{% {tag} "menu" %}}.')
    options: dict[str, FilterExpression] = {}
    arguments = []
    for part in parts[1:]:
        match = OPTION.fullmatch(part)
        if match is None:
            arguments.append(parser.compile_filter(part))
            continue
        name, expression = match.groups()
        if name not in OPTION_NAMES:
            raise TemplateSyntaxError(
                f"{{% {tag} %}} has no option {name!r}. Its options are"
                f" {', '.join(OPTION_NAMES)}; the arguments that select the variant have no name."
            )
        if name in options:
            raise TemplateSyntaxError(f"{{% {tag} %}} has the option {name!r} twice.")
        options[name] = parser.compile_filter(expression)
    return Options(parser.compile_filter(parts[0]), arguments, options)


def check_options(where: str, name: object, options: Mapping[str, Any]) -> TagOptions:
    """Check the options of a tag of any template language. Raises TemplateSyntaxError."""
    try:
        stale = as_seconds(options.get("stale", 0))
        timeout = cap_timeout("fragment", as_seconds(options.get("timeout", UNSET)), stale)
        return TagOptions(
            check_name(name),
            choose_alias(options.get("using")),
            timeout,
            stale,
            cached_user_tags(tags_in(options.get("tags", ()))),
            freshness_of("fragment", as_seconds(options.get("freshness", UNSET))),
        )
    except (TypeError, ValueError) as error:
        raise TemplateSyntaxError(f"{where}: the fragment cannot be cached: {error}") from error


def as_seconds(value: Any) -> Any:
    """Return seconds; a text may be a number, because Django's {% cache %} tag takes both."""
    seconds = durations.as_seconds(value)
    if not isinstance(seconds, str):
        return seconds
    try:
        return float(seconds)
    except ValueError:
        raise ValueError(f"{value!r} is no number of seconds. {durations.HOW_TO_WRITE}.") from None


def tags_in(tags: object) -> tuple[str, ...]:
    """Return the tags; a text holds several, separated by commas, as templates have no lists."""
    if isinstance(tags, str):
        return tuple(tag.strip() for tag in tags.split(","))
    return tuple(tags) if isinstance(tags, Iterable) else (tags,)  # type: ignore[return-value] # refused with its value


def choose_alias(using: object) -> str:
    """Return the alias in CACHES of a fragment's cache. Raises ValueError."""
    if using is None:
        is_set_aside = FRAGMENTS_ALIAS in settings.CACHES
        return FRAGMENTS_ALIAS if is_set_aside else package_settings().ALIAS
    if using not in settings.CACHES:
        known = ", ".join(sorted(settings.CACHES))
        raise ValueError(f"using={using!r} is no alias of CACHES. There are: {known}.")
    return str(using)


@dataclass(frozen=True, slots=True)
class Loop:
    """The loop of ``{% fragments %}``: the loop variables and the iterable."""

    names: tuple[str, ...]
    sequence: FilterExpression

    def items(self, context: Context) -> list[Mapping[str, Any]]:
        """Return the variables for each item; nothing for a missing iterable, as in a for loop."""
        values = self.sequence.resolve(context, ignore_failures=True)
        return names_of_items(self.names, values or ())


def names_of_items(names: Sequence[str], items: Iterable[Any]) -> list[Mapping[str, Any]]:
    """Return the variables for each item. ValueError if an item cannot be unpacked."""
    if len(names) == 1:
        [name] = names
        return [{name: item} for item in items]
    found: list[Mapping[str, Any]] = []
    for item in items:
        parts = tuple(item)
        if len(parts) != len(names):
            raise ValueError(
                f"{{% fragments %}} has {len(names)} names for an item of {len(parts)} parts."
            )
        found.append(dict(zip(names, parts, strict=True)))
    return found


def compile_loop(parser: Parser, tag: str, parts: Sequence[str]) -> tuple[Loop, list[str]]:
    """Compile ``for name, name in items``; return the loop and the other parts of the tag."""
    texts = list(parts)
    try:
        start, middle = texts.index("for"), texts.index("in")
        names = "".join(texts[start + 1 : middle]).split(",")
        sequence = texts[middle + 1]
    except (ValueError, IndexError):
        names, sequence = [], ""
    if not sequence or not all(name.isidentifier() for name in names):
        raise TemplateSyntaxError(
            f'{{% {tag} %}} has no loop. Write one: {{% {tag} "row" for item in items %}}.'
        )
    others = [*texts[:start], *texts[middle + 2 :]]
    return Loop(tuple(names), parser.compile_filter(sequence)), others
