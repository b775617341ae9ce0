"""The loop in ``{% fragments "row" for airport in airports %}``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.template import Context, TemplateSyntaxError
from django.template.base import FilterExpression, Parser


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
