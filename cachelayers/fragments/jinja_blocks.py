"""What a fragment's tag in Jinja2 has to render. Made by the door, rendered by serving."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Template, Undefined
from jinja2.runtime import Context
from jinja2.utils import missing

from cachelayers.fragments.given import check_given
from cachelayers.fragments.jinja_sources import (
    are_unchanged,
    code_of,
    digest_of_name,
    follow_name,
)
from cachelayers.fragments.keys import digest_of
from cachelayers.fragments.lists import Listing, serve_list
from cachelayers.fragments.loops import names_of_items
from cachelayers.fragments.markup import (
    NAMELESS,
    Hole,
    HoleLost,
    Templates,
    current_rendering,
    rendering_of,
)
from cachelayers.fragments.places import requests_of, users_of
from cachelayers.fragments.serving import Fragment, Memory, serve
from cachelayers.invalidation.rows import without_laziness

Call = Callable[..., str]
NO_NAMES: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Tag:
    """What is known of a tag when its template is compiled."""

    template: str | None
    line: int
    number: int  # of the tag in its template
    source: str  # a digest of the template's
    named: Sequence[str]  # the templates that stand between the tags
    told: AbstractSet[str]  # the names that are arguments, or whose keys are
    called: AbstractSet[str]  # the names that macros may ask for which it calls
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
        self.remembered: Mapping[str, str] = {}
        self.told = tag.told | item.keys()
        self._tag, self._context, self._caller = tag, context, caller
        self._shown, self._item = {**names, **item}, item
        self._holes = {hole_of(tag.source, number).name: hole for number, hole in holes.items()}
        self.known_templates: frozenset[str] = frozenset()

    @property
    def own_holes(self) -> Container[tuple[str, int]]:
        """Return the holes between the tags."""
        return self._holes

    @property
    def request(self) -> Any:
        """Return the request that it is rendered for, if the template knows it."""
        return self._known("request")

    @property
    def names(self) -> Mapping[str, Any]:
        """Return what the template knows."""
        return {**self._context.get_all(), **self._shown}

    def users(self) -> list[Any]:
        """Return who may be meant by its user."""
        return users_of(self._known("user"), self.request, self._known("view"))

    def requests(self) -> list[Any]:
        """Return the requests that it is rendered for."""
        return requests_of(self.request, self._known("view"))

    def _known(self, name: str) -> Any:
        # Not by the context's own ways, which note what is asked for.
        for names in (self._shown, self._context.vars, self._context.parent):
            value = names.get(name)
            if value is not None and not is_undefined(value):
                return value
        return None

    def texts(self) -> tuple[str, ...]:
        """Return what tells what it is rendered from, as far as that stands in templates, and how.

        Sets ``known_templates``: names whose digests are in there.
        """
        context, tag = self._context, self._tag
        environment = context.environment
        digests = [tag.source, code_of(environment)]
        # Those that extend the tag's template may have blocks in it.
        extending = {
            name
            for blocks in context.blocks.values()
            for block in blocks
            if (name := getattr(block, "__globals__", {}).get("name"))
        }
        names = [tag.template, context.name, *sorted(extending), *tag.named]
        for name in dict.fromkeys(names):
            found = None if name is None else follow_name(environment, name)
            if found is not None:
                digests.append(found[0])
                self.known_templates |= found[1]
        return digest_of(*digests), f"jinja2,{context.eval_ctx.autoescape}"

    def render(self) -> tuple[str, Mapping[str, Any]]:
        """Render it."""
        functions = self._context.environment.globals
        asked = self._shown
        if self._tag.called:
            known = self.names
            asked = {**{name: known[name] for name in self._tag.called & known.keys()}, **asked}
        text = self.render_unnoticed()
        rendering = current_rendering()
        noted = {} if rendering is None else rendering.seen
        shown = {
            name: value
            for name, value in {**noted, **asked}.items()
            if not is_undefined(value) and functions.get(name, missing) is not value
        }
        self._note_given_templates(shown)
        return text, shown

    def _note_given_templates(self, shown: Mapping[str, Any]) -> None:
        rendering = current_rendering()
        for value in map(without_laziness, shown.values()):
            if rendering is not None and isinstance(value, Template):
                if value.name is None:
                    rendering.obstacles.append("it includes a template that has no name")
                else:
                    rendering.templates[value.name] = None

    def render_unnoticed(self) -> str:
        """Render it as if there were no tag around it."""
        return str(self._caller(*self._item.values()))

    def fill(self, hole: Hole) -> str:
        """Render a hole."""
        if hole.name not in self._holes:
            raise HoleLost
        with rendering_of(None):
            return str(self._holes[hole.name](*self._item.values()))

    def digests_of(self, names: Sequence[str]) -> Templates:
        """Return the digests of those templates that the key does not cover."""
        unknown = sorted(set(names) - self.known_templates)
        return {name: digest_of_name(self._context.environment, name) for name in unknown}

    def are_unchanged(self, templates: Templates) -> bool:
        """Tell whether the digests are still the same."""
        return are_unchanged(self._context.environment, templates)


def is_undefined(value: Any) -> bool:
    """Tell what stands for a name that nobody gives; isinstance() would use a lazy object."""
    return issubclass(type(value), Undefined)


def show_fragment(
    tag: Tag,
    context: Context,
    given: Sequence[object],
    options: Mapping[str, Any],
    names: Mapping[str, Any],
    holes: Mapping[int, Call],
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
    caller: Call,
    item_names: Sequence[str],
    items: Sequence[Any],
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
        )
    )


def hole_of(source: str, number: int) -> Hole:
    """Return one of the holes of a template, by the digest of its source."""
    return Hole(f"{NAMELESS}{source}", number)


def show_hole(hole: Hole, macro: Call, *item: Any) -> str:
    """Leave a hole in the fragment that is rendered; where there is none, fill it."""
    rendering = current_rendering()
    return str(macro(*item)) if rendering is None else rendering.leave_hole(hole)


def note_lone_hole(wrapper: str) -> str:
    """Note a hole that is rendered where it stands: there is no way to it from outside.

    ``wrapper``: a tag around it that may change it; empty for one in a template that is included.
    """
    rendering = current_rendering()
    if rendering is not None:
        rendering.obstacles.append(
            f"{{% {wrapper} %}} is around an {{% uncached %}}"
            if wrapper
            else "there is a hole in a template that it includes"
        )
    return ""
