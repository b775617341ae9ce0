"""Read what a fragment's tag was given: compile it once, check its values at each use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from django.conf import settings
from django.template import Context, TemplateSyntaxError
from django.template.base import FilterExpression, Parser

from cachelayers.conf import package_settings
from cachelayers.fragments.keys import check_name
from cachelayers.lookup import UNSET, cap_timeout, remembered_tags

# Django's own tag uses the cache of this alias, where there is one.
FRAGMENTS_ALIAS = "template_fragments"
OPTION_NAMES = ("timeout", "stale", "tags", "using")
OPTION = re.compile(r"(\w+)=(.+)", re.DOTALL)


class Options(NamedTuple):
    """The compiled parts of a tag."""

    name: FilterExpression
    arguments: Sequence[FilterExpression]
    options: Mapping[str, FilterExpression]


class Given(NamedTuple):
    """Their values, checked."""

    name: str
    arguments: list[object]
    alias: str
    timeout: float | None
    stale: float
    words: tuple[str, ...]


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


def read_options(options: Options, context: Context, where: str) -> Given:
    """Return the values of a tag's parts; TemplateSyntaxError for those that mean nothing."""
    values = {name: option.resolve(context) for name, option in options.options.items()}
    arguments = [argument.resolve(context) for argument in options.arguments]
    return check_given(where, options.name.resolve(context), arguments, values)


def check_given(
    where: str, name: object, arguments: list[object], options: Mapping[str, Any]
) -> Given:
    """Check what a tag was given, in whatever kind of template."""
    try:
        stale = as_seconds(options.get("stale", 0))
        timeout = cap_timeout("fragment", as_seconds(options.get("timeout", UNSET)), stale)
        return Given(
            check_name(name),
            arguments,
            choose_alias(options.get("using")),
            timeout,
            stale,
            remembered_tags(words_in(options.get("tags", ()))),
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
