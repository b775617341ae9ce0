"""What a fragment's tag was given: compiled once, checked at each use; and its loop."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.conf import settings
from django.template import Context, TemplateSyntaxError
from django.template.base import FilterExpression, Parser

from cachelayers.conf import package_settings
from cachelayers.fragments.keys import check_name
from cachelayers.lookup import UNSET, cached_user_tags, cap_timeout

logger = logging.getLogger("cachelayers.fragments")
# Django's own tag uses the cache of this alias, where there is one.
FRAGMENTS_ALIAS = "template_fragments"
OPTION_NAMES = ("timeout", "stale", "tags", "using")
OPTION = re.compile(r"(\w+)=(.+)", re.DOTALL)


class TagOptions(NamedTuple):
    """What a tag was given beside its arguments, checked."""

    name: str
    alias: str
    timeout: float | None
    stale: float
    words: tuple[str, ...]


class Options:
    """The compiled parts of a tag."""

    def __init__(
        self,
        name: FilterExpression,
        arguments: Sequence[FilterExpression],
        options: Mapping[str, FilterExpression],
    ) -> None:
        """Take them."""
        self.arguments = arguments
        self.told = frozenset(filter(None, map(name_told_by, arguments)))
        self._name, self._options = name, options
        self._is_constant = all(is_constant(part) for part in (name, *options.values()))
        self._warned: set[str] = set()
        # What constants come to, and the settings that it was worked out with.
        self._given: tuple[TagOptions, object] | None = None

    def warn_of_missing(self, context: Context, where: str) -> None:
        """Say once of arguments that nothing is there under their names."""
        for argument in self.arguments:
            if is_missing(argument, context):
                warn_of_missing(where, str(argument), self._warned)

    def read(self, context: Context, where: str) -> TagOptions:
        """Return the values of the parts; TemplateSyntaxError for those that mean nothing."""
        known, settings_now = self._given, package_settings()
        if known is not None and known[1] is settings_now:
            return known[0]
        values = {name: option.resolve(context) for name, option in self._options.items()}
        given = check_options(where, self._name.resolve(context), values)
        if self._is_constant:
            self._given = given, settings_now
        return given


def name_told_by(argument: FilterExpression) -> str | None:
    """Return the name whose value an argument is, if it is just a name; or what of a loop it is."""
    path = getattr(argument.var, "lookups", None)
    if argument.filters or not path or (len(path) > 1 and path[0] != "forloop"):
        return None
    return ".".join(map(str, path))


def warn_of_missing(where: str, argument: object, warned: set[str]) -> None:
    """Say once of an argument that nothing is there under its name."""
    if str(argument) not in warned:
        warned.add(str(argument))
        logger.warning(
            "%s: the argument %r of the fragment does not exist. Check how it is spelled.",
            where,
            str(argument),
        )


def is_missing(argument: FilterExpression, context: Context) -> bool:
    """Tell whether what an argument begins with is not there."""
    path = getattr(argument.var, "lookups", None)
    if not path or path[0] in context:
        return False
    # A default is written for a name that may be missing.
    return not any(function.__name__.startswith("default") for function, _ in argument.filters)


def is_constant(part: FilterExpression) -> bool:
    """Tell whether a part of a tag is the same in each context."""
    variable = part.var
    is_literal = isinstance(variable, str) or getattr(variable, "literal", None) is not None
    return not part.filters and (is_literal or str(part) == "None")


def compile_options(parser: Parser, tag: str, parts: Sequence[str]) -> Options:
    """Compile what stands in a tag behind its name; TemplateSyntaxError for what makes no sense."""
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
                f" {', '.join(OPTION_NAMES)}; what tells variants apart is given without a name."
            )
        if name in options:
            raise TemplateSyntaxError(f"{{% {tag} %}} has the option {name!r} twice.")
        options[name] = parser.compile_filter(expression)
    return Options(parser.compile_filter(parts[0]), arguments, options)


def check_options(where: str, name: object, options: Mapping[str, Any]) -> TagOptions:
    """Check what a tag was given, in whatever kind of template."""
    try:
        stale = as_seconds(options.get("stale", 0))
        timeout = cap_timeout("fragment", as_seconds(options.get("timeout", UNSET)), stale)
        return TagOptions(
            check_name(name),
            choose_alias(options.get("using")),
            timeout,
            stale,
            cached_user_tags(words_in(options.get("tags", ()))),
        )
    except (TypeError, ValueError) as error:
        raise TemplateSyntaxError(f"{where}: the fragment cannot be cached: {error}") from error


def as_seconds(value: Any) -> Any:
    """Return a number that was written as a text as a number; Django's own tag takes both."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{value!r} is no number of seconds.") from None


def words_in(tags: object) -> tuple[str, ...]:
    """Return the words: of a text those between commas, for templates have no lists."""
    if isinstance(tags, str):
        return tuple(word.strip() for word in tags.split(","))
    return tuple(tags) if isinstance(tags, Iterable) else (tags,)  # type: ignore[return-value] # refused with its value


def choose_alias(using: object) -> str:
    """Return the alias of CACHES that a fragment is kept in; ValueError for none."""
    if using is None:
        is_set_aside = FRAGMENTS_ALIAS in settings.CACHES
        return FRAGMENTS_ALIAS if is_set_aside else package_settings().ALIAS
    if using not in settings.CACHES:
        known = ", ".join(sorted(settings.CACHES))
        raise ValueError(f"using={using!r} is no alias of CACHES. There are: {known}.")
    return str(using)


@dataclass(frozen=True, slots=True)
class Loop:
    """Names, and the expression whose items they stand for."""

    names: tuple[str, ...]
    sequence: FilterExpression

    def items(self, context: Context) -> list[Mapping[str, Any]]:
        """Return the names' values for each item; none for what is not there, as in a for loop."""
        values = self.sequence.resolve(context, ignore_failures=True)
        return names_of_items(self.names, values or ())


def names_of_items(names: Sequence[str], items: Iterable[Any]) -> list[Mapping[str, Any]]:
    """Return the names' values for each item; ValueError where an item has more or fewer parts."""
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
    """Compile ``for name, name in items`` in a tag's parts; return the other parts too."""
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
