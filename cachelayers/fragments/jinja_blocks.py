"""What a fragment's tag in Jinja2 has to render. Made by the door, rendered by serving."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest
from jinja2 import Undefined
from jinja2.runtime import Context

from cachelayers.fragments.given import check_given
from cachelayers.fragments.jinja_sources import (
    are_unchanged,
    code_of,
    digest_of_name,
    follow_name,
    note_lookups,
)
from cachelayers.fragments.keys import digest_of
from cachelayers.fragments.lists import Listing, serve_list
from cachelayers.fragments.loops import names_of_items
from cachelayers.fragments.markup import (
    NAMELESS,
    Hole,
    Templates,
    current_rendering,
    rendering_of,
)
from cachelayers.fragments.seen import Seen, Sight
from cachelayers.fragments.serving import Fragment, Memory, serve

Call = Callable[..., str]
NO_NAMES: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Tag:
    """What is known of a tag when its template is compiled."""

    template: str | None
    line: int
    source: str  # a digest of the template's
    named: Sequence[str]  # the templates that stand between the tags
    shows_everything: bool  # it includes others, which may ask for any name
    memory: Memory = field(default_factory=Memory)

    @property
    def where(self) -> str:
        """Return its place for people."""
        return f"{self.template or 'a template without a name'}, line {self.line}"


class JinjaBlock:
    """What stands between the tags, as a function, with the names that it asks for."""

    def __init__(
        self,
        tag: Tag,
        context: Context,
        names: Mapping[str, Any],
        holes: Mapping[int, Call],
        caller: Call,
        item: Mapping[str, Any] = NO_NAMES,
    ) -> None:
        """Take them.

        ``names``: those that stand in the block, with their values. ``item``: those that only this
        block of a list has.
        """
        self._tag, self._context, self._caller = tag, context, caller
        self._shown, self._item = {**names, **item}, item
        self._holes = {hole_of(tag.source, number): hole for number, hole in holes.items()}
        self.known_templates: frozenset[str] = frozenset()

    @property
    def own_holes(self) -> Container[Hole]:
        """Return the holes between the tags."""
        return self._holes

    @property
    def request(self) -> HttpRequest | None:
        """Return the request that it is rendered for, if the template knows it."""
        request: HttpRequest | None = self._context.get("request")
        return request

    @property
    def user(self) -> Any:
        """Return what the template knows under that name."""
        return self._shown["user"] if "user" in self._shown else self._context.get("user")

    @property
    def names(self) -> Mapping[str, Any]:
        """Return what the template knows."""
        return {**self._context.get_all(), **self._shown}

    def texts(self) -> tuple[str, ...]:
        """Return what tells what it is rendered from, as far as that stands in templates, and how.

        Sets ``known_templates``: names whose digests are in there.
        """
        environment, tag = self._context.environment, self._tag
        note_lookups(environment)
        digests = [tag.source, code_of(environment)]
        # The template that is rendered may be one that extends the tag's.
        for name in dict.fromkeys([tag.template, self._context.name, *tag.named]):
            found = None if name is None else follow_name(environment, name)
            if found is not None:
                digests.append(found[0])
                self.known_templates |= found[1]
        return digest_of(*digests), f"jinja2,{self._context.eval_ctx.autoescape}"

    def render(self) -> tuple[str, Mapping[str, Sight]]:
        """Render it."""
        seen = Seen()
        shown = self.names if self._tag.shows_everything else self._shown
        functions = self._context.environment.globals
        for name, value in shown.items():
            if not isinstance(value, Undefined) and functions.get(name) is not value:
                seen.note(name, value)
        return self.render_unnoticed(), seen.values

    def render_unnoticed(self) -> str:
        """Render it as if there were no tag around it."""
        return str(self._caller(*self._item.values()))

    def fill(self, hole: Hole) -> str:
        """Render a hole."""
        with rendering_of(None):
            return str(self._holes[hole](*self._item.values()))

    def digests_of(self, names: Sequence[str]) -> Templates:
        """Return the digests of those templates that the key does not cover."""
        unknown = sorted(set(names) - self.known_templates)
        return {name: digest_of_name(self._context.environment, name) for name in unknown}

    def are_unchanged(self, templates: Templates) -> bool:
        """Tell whether the digests are still the same."""
        return are_unchanged(self._context.environment, templates)


def show_fragment(
    tag: Tag,
    context: Context,
    given: Sequence[object],
    options: Mapping[str, Any],
    names: Mapping[str, Any],
    holes: Mapping[int, Call],
    *,
    caller: Call,
) -> str:
    """Return a fragment's text, from the cache or rendered."""
    name, *arguments = given
    checked = check_given(tag.where, name, options)
    block = JinjaBlock(tag, context, names, holes, caller)
    return serve(Fragment(tag.where, checked, arguments, block.texts(), block, tag.memory))


def show_fragments(
    tag: Tag,
    context: Context,
    given: Sequence[object],
    options: Mapping[str, Any],
    names: Mapping[str, Any],
    holes: Mapping[int, Call],
    item_names: Sequence[str],
    items: Sequence[Any],
    *,
    caller: Call,
) -> str:
    """Return the texts of a list's items, from the cache or rendered."""
    name, *others = given
    checked = check_given(tag.where, name, options)
    all_names = names_of_items(item_names, items)
    place = JinjaBlock(tag, context, names, holes, caller)

    def block_of(number: int) -> JinjaBlock:
        block = JinjaBlock(tag, context, names, holes, caller, all_names[number])
        block.known_templates = place.known_templates
        return block

    return serve_list(
        Listing(
            tag.where,
            checked,
            place.texts(),
            tag.memory,
            place,
            [[*some.values(), *others] for some in all_names],
            block_of,
            "user" in item_names,
        )
    )


def hole_of(source: str, number: int) -> Hole:
    """Return one of the holes of a template, by the digest of its source."""
    return Hole(f"{NAMELESS}{source}", number)


def show_hole(hole: Hole, macro: Call, *item: Any) -> str:
    """Leave a hole in the fragment that is rendered; where there is none, fill it."""
    rendering = current_rendering()
    return str(macro(*item)) if rendering is None else rendering.leave_hole(hole)


def show_lone_hole(caller: Call) -> str:
    """Show a hole that no fragment of its own template is around."""
    rendering = current_rendering()
    if rendering is not None:
        rendering.obstacles.append("there is a hole in a template that it includes")
    return str(caller())
