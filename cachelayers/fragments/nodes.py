"""The nodes of ``{% fragment %}``, ``{% fragments %}`` and ``{% uncached %}``."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Container, Hashable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from copy import copy
from typing import Any
from weakref import WeakValueDictionary

from django.template import (
    Context,
    Engine,
    Node,
    NodeList,
    Origin,
    Template,
    TemplateDoesNotExist,
    TemplateSyntaxError,
)
from django.template.backends.django import Template as Backend
from django.template.base import UNKNOWN_SOURCE, Parser, Token
from django.template.context import RenderContext
from django.template.library import InclusionNode
from django.template.loader_tags import ExtendsNode, IncludeNode

from cachelayers.fragments.dependencies import (
    FORLOOP,
    LookedUp,
    NotedLoop,
    NotedNames,
    NotedState,
    is_loop,
    unnoted,
)
from cachelayers.fragments.keys import digest_of
from cachelayers.fragments.lists import Listing, serve_list
from cachelayers.fragments.lookups import CanonicalName, Names, context_value
from cachelayers.fragments.markup import (
    NAMELESS,
    Hole,
    HoleLost,
    Templates,
    current_rendering,
    rendering_of,
)
from cachelayers.fragments.serving import Fragment, Memory, look_first, serve
from cachelayers.fragments.sources import (
    FoundTemplate,
    are_still_given,
    are_unchanged,
    digest_of_name,
    follow_nodes,
    has_loaders_of_others,
    note_lookups,
    origin_of,
    source_around,
    source_of_libraries,
)
from cachelayers.fragments.tag_options import Loop, Options
from cachelayers.fragments.variants import requests_of, users_of
from cachelayers.invalidation.dependencies import without_laziness

HOLE_COUNT = "_cachelayers_holes"  # of a parser
# Tags that write what is in them as it is. Others, {% filter %} say, may change it; and what is in
# a hole is not there while they do.
PLAIN_TAGS = frozenset(
    """autoescape block comment extends for fragment fragments if ifchanged language localize
    localtime partialdef timezone uncached verbatim with""".split()  # noqa: SIM905 - easier to read
)
Name = tuple[str, int]


class UncachedNode(Node):
    """A hole: a block that is rendered for each request, within a fragment that is kept."""

    def __init__(self, nodelist: NodeList, name: Name, wrapper: str | None) -> None:
        """``name``: what it is found by; ``wrapper``: a tag around it that may change it."""
        self.nodelist = nodelist
        self.name = name
        self._wrapper = wrapper

    def render(self, context: Context) -> str:
        """Leave a hole, or where no fragment is around it, render it."""
        rendering = current_rendering()
        if rendering is None:
            return self.nodelist.render(context)
        if self._wrapper is not None:
            rendering.obstacles.append(f"{{% {self._wrapper} %}} is around an {{% uncached %}}")
            return self.nodelist.render(context)
        manner = context.autoescape, context.use_l10n, context.use_tz
        return rendering.leave_hole(Hole(*self.name, manner))


def name_hole(parser: Parser) -> Name:
    """Return what a hole is found by, while its tag is compiled."""
    number = getattr(parser, HOLE_COUNT, 0)
    setattr(parser, HOLE_COUNT, number + 1)
    origin = origin_of(parser)
    template = "" if origin.loader is None else str(origin.template_name)
    # Of the source too: a template may extend another one of its own name.
    return f"{template}{NAMELESS}{digest_of(source_around(parser))}", number


def wrapper_of_hole(parser: Parser) -> str | None:
    """Return a tag around a hole that may change it, up to the fragment's own; None for none."""
    around = [command for command, _ in parser.command_stack]
    for command in reversed(around[:-1]):  # the last is the hole's own
        if command not in PLAIN_TAGS:
            return str(command)
    return None


# The holes of all templates that are compiled, by engine and name.
_holes: WeakValueDictionary[tuple[int | None, Name], UncachedNode] = WeakValueDictionary()


def register_hole(node: UncachedNode, parser: Parser) -> None:
    """Have a hole found by its name; where that is the name of a template, within its engine."""
    loader = origin_of(parser).loader
    _holes[None if loader is None else id(loader.engine), node.name] = node


def find_hole(engine: Engine, name: Name) -> UncachedNode:
    """Return the node of a hole; compiling its template makes it known. Raises HoleLost."""
    template_name = name[0].rpartition(NAMELESS)[0]
    if not template_name:
        place: tuple[int | None, Name] = (None, name)
        template = None
    else:
        place = (id(engine), name)
        try:
            # Held until its node is: a loader need not keep it.
            template = None if place in _holes else engine.get_template(template_name)
        except TemplateDoesNotExist:
            raise HoleLost from None
    node = _holes.get(place)
    del template
    if node is None:
        raise HoleLost
    return node


def holes_in(nodes: NodeList) -> dict[Name, UncachedNode]:
    """Return the holes that stand between a fragment's tags."""
    return {
        node.name: node
        for node in nodes.get_nodes_by_type(UncachedNode)
        if isinstance(node, UncachedNode)
    }


COUNT = "_cachelayers_fragments"  # of a parser
NO_NAMES: Mapping[str, Any] = {}
Texts = tuple[tuple[str, ...], frozenset[str]]


class TagSurroundings:
    """The template that a tag stands in, as it was while the tag was compiled."""

    def __init__(self, parser: Parser, token: Token) -> None:
        """Read what is only known now."""
        self.origin = origin_of(parser)
        self.where = f"{self.origin}, line {token.lineno}"
        # Another tag of the file may have the same name and arguments, and other contents.
        number = getattr(parser, COUNT, 0)
        setattr(parser, COUNT, number + 1)
        self._digest = digest_of(source_around(parser), source_of_libraries(parser), str(number))
        self._texts: dict[Hashable, tuple[Texts, Sequence[FoundTemplate]]] = {}

    def texts(self, context: Context, nodes: NodeList) -> Texts:
        """Return what tells what nodes are rendered from, and how; and the names followed for it.

        The templates that extend the one with the tag count too: their blocks may be in the nodes.
        So does what changes every value that is written: a template may be included both ways.
        """
        history = context.render_context.get(ExtendsNode.context_key)
        names = tuple([origin.name for origin in history]) if history else ()
        manner = context.autoescape, context.use_l10n, context.use_tz, names
        found, given = self._texts.get(manner, (None, ()))
        if found is None or (given and not are_still_given(engine_of(context), given)):
            engine = engine_of(context)
            note_lookups(engine)
            followed = follow_nodes(engine, self.origin, nodes)
            origins = [self.origin, *(history or ())]
            sources = [source_of(origin, context) for origin in origins]
            texts = digest_of(self._digest, followed.digest(), *sources), str(manner[:3])
            found = texts, frozenset(followed.sources)
            if followed.are_lasting and UNKNOWN_SOURCE not in names:
                self._texts[manner] = found, followed.given if has_loaders_of_others(engine) else ()
        return found


def source_of(origin: Origin, context: Context) -> str:
    """Return the source of a template on the way to the one that is rendered."""
    if origin.loader is not None:
        loader: Any = origin.loader
        return str(loader.get_contents(origin))
    # Made from a string: then it is one of those that are rendered now.
    for template in (context.template, context.render_context.template):
        if isinstance(template, Template) and template.origin is origin:
            return str(template.source)
    return ""


class FragmentNode(Node):
    """A block that is kept."""

    def __init__(self, nodelist: NodeList, options: Options, surroundings: TagSurroundings) -> None:
        """Take what was compiled."""
        self.nodelist = nodelist
        self._options = options
        self._surroundings = surroundings
        self._memory = Memory()
        self._holes = holes_in(nodelist)

    def render(self, context: Context) -> str:
        """Return the block's text, from the cache or rendered."""
        where = self._surroundings.where
        given = self._options.read(context, where)
        arguments = [argument.resolve(context) for argument in self._options.arguments]
        if not all(arguments):
            self._options.warn_of_missing(context, where)
        texts, known = self._surroundings.texts(context, self.nodelist)
        first = look_first(given, arguments, texts, self._memory)
        if isinstance(first, str):
            return first
        block = DjangoBlock(self.nodelist, context, known, self._holes, self._options.told)
        return serve(Fragment(where, given, arguments, texts, block, self._memory, first))


class FragmentsNode(Node):
    """A block that is kept for each item of a list."""

    child_nodelists = ("nodelist", "nodelist_empty")

    def __init__(
        self,
        nodelist: NodeList,
        nodelist_empty: NodeList,
        loop: Loop,
        options: Options,
        surroundings: TagSurroundings,
    ) -> None:
        """Take what was compiled."""
        self.nodelist, self.nodelist_empty = nodelist, nodelist_empty
        self._loop, self._options, self._surroundings = loop, options, surroundings
        self._memory = Memory()
        self._holes = holes_in(nodelist)

    def render(self, context: Context) -> str:
        """Return the texts of all items, one after the other."""
        items = self._loop.items(context)
        if not items:
            return self.nodelist_empty.render(context)
        where = self._surroundings.where
        given = self._options.read(context, where)
        texts, known = self._surroundings.texts(context, self.nodelist)

        told = self._options.told | {*self._loop.names}
        place = DjangoBlock(self.nodelist, context, known, self._holes, told)

        def block_of(number: int) -> DjangoBlock:
            return place.of_item(items[number])

        return serve_list(
            Listing(
                where,
                given,
                texts,
                self._memory,
                place,
                self._arguments(context, items),
                block_of,
            )
        )

    def _arguments(
        self, context: Context, items: Sequence[Mapping[str, Any]]
    ) -> list[list[object]]:
        """Return what tells each item's block: the item, and what else the tag was given."""
        if not self._options.arguments:
            return [[*names.values()] for names in items]
        found = []
        for names in items:
            with context.push(**names):
                others = [argument.resolve(context) for argument in self._options.arguments]
                if not all(others):
                    self._options.warn_of_missing(context, self._surroundings.where)
            found.append([*names.values(), *others])
        return found


class DjangoBlock:
    """The nodes between the tags, with the context they are rendered in."""

    def __init__(
        self,
        nodes: NodeList,
        context: Context,
        known_templates: frozenset[str],
        holes: Mapping[tuple[str, int], UncachedNode],
        told: AbstractSet[str],
        item: Mapping[str, Any] = NO_NAMES,
    ) -> None:
        """Take them.

        ``known_templates``: names whose digests are in the key. ``told``: names that are arguments.
        ``item``: names that only this block of a list has.
        """
        self.told = told
        self.remembered: Mapping[str, str] = {}
        self._nodes, self._context, self._item = nodes, context, item
        self._known_templates, self._holes = known_templates, holes
        self._around = [*context.dicts]
        self._names = Names(self._find)

    def of_item(self, item: Mapping[str, Any]) -> DjangoBlock:
        """Return the block of one item of a list, of which this is the place."""
        block = copy(self)
        block._item = item
        return block

    def _find(self, name: str) -> Any:
        """Return what stands under a name around the list, if it is one; or ABSENT."""
        return context_value(self._around, name)

    def named(self, name: str) -> CanonicalName:
        """Return the spelling of what stands under a name."""
        return self._names.spelled(name)

    def form_of(self, name: str) -> str:
        """Return the text of it."""
        return self._names.spelled(name).text

    @property
    def request(self) -> Any:
        """Return the request that it is rendered for, if the template knows it."""
        request = getattr(self._context, "request", None)
        return request if request is not None else self._known("request")

    @property
    def own_holes(self) -> Container[tuple[str, int]]:
        """Return the holes between the tags."""
        return self._holes

    @property
    def names(self) -> Mapping[str, Any]:
        """Return what the template knows."""
        return ChainMap(dict(self._item), *map(unnoted, reversed(self._context.dicts)))

    def users(self) -> list[Any]:
        """Return who may be meant by its user."""
        return users_of(self._known("user"), self.request, self._known("view"))

    def requests(self) -> list[Any]:
        """Return the requests that it is rendered for."""
        return requests_of(self.request, self._known("view"))

    def _known(self, name: str) -> Any:
        # Not by the context's own ways: this block, or one around it, would take it for a look-up
        # by the template, and for a part of what it shows.
        if name in self._item:
            return self._item[name]
        for around in reversed(self._around):
            names = unnoted(around)
            if name in names:
                return names[name]
        return None

    def render(self) -> tuple[str, Mapping[str, Any]]:
        """Render it; what it sets stays within it, as it would not be set by a hit."""
        context, seen = self._context, LookedUp(self._names.note)
        names = context.dicts
        loop = context_value(names, FORLOOP)
        own = {FORLOOP: NotedLoop(loop if isinstance(loop, dict) else {}, FORLOOP, seen)}
        context.dicts = [*(NotedNames(some, seen) for some in names), {**self._item}, own]
        try:
            with (
                looking_up_anew(context.render_context),
                noting_state(context.render_context, seen, is_in_loop=is_loop(loop)),
            ):
                text = self._nodes.render(context)
        finally:
            context.dicts = names
        if (rendering := current_rendering()) is not None:
            rendering.obstacles += seen.obstacles
        note_given_templates([*seen.values.values(), *self._item.values()])
        return text, seen.values

    def render_unwatched(self) -> str:
        """Render it as if there were no tag around it, but that what it sets stays within it."""
        with self._context.push(**self._item):
            return self._nodes.render(self._context)

    def fill(self, hole: Hole) -> str:
        """Render a hole, in the context around the outermost fragment."""
        context = self._context
        node = self._holes.get(hole.name) or find_hole(engine_of(context), hole.name)
        before = context.autoescape, context.use_l10n, context.use_tz
        set_manner(context, *hole.manner)
        try:
            with rendering_of(None), context.push(**self._item):
                return node.nodelist.render(context)
        finally:
            set_manner(context, *before)

    def digests_of(self, names: Sequence[str]) -> Templates:
        """Return the digests of those templates that the key does not cover."""
        engine = engine_of(self._context)
        unknown = sorted(set(names) - self._known_templates)
        return {name: digest_of_name(engine, name) for name in unknown}

    def are_unchanged(self, templates: Templates) -> bool:
        """Tell whether the digests are still the same."""
        return are_unchanged(engine_of(self._context), templates)


def set_manner(
    context: Context, autoescape: bool | None, use_l10n: bool | None, use_tz: bool | None
) -> None:
    """Set how values are written."""
    context.autoescape, context.use_l10n, context.use_tz = bool(autoescape), use_l10n, use_tz


@contextmanager
def looking_up_anew(state: RenderContext) -> Iterator[None]:
    """Have includes and inclusion tags look for their templates, which they keep within a page."""
    found = []
    places: list[dict[Any, Any]] = [state.dicts[0], state.dicts[-1]]
    for names in places:
        kept = {key: names[key] for key in names if isinstance(key, (IncludeNode, InclusionNode))}
        for key in kept:
            del names[key]
        found.append(kept)
    try:
        yield
    finally:
        for names, kept in zip(places, found, strict=True):
            names.update(kept)


@contextmanager
def noting_state(state: RenderContext, seen: LookedUp, *, is_in_loop: bool) -> Iterator[None]:
    """Note what tags remember beyond one use of the block; what they do is not taken back."""
    before = state.dicts[-1]
    noted = state.dicts[-1] = NotedState(before, seen, is_in_loop=is_in_loop)
    try:
        yield
    finally:
        state.dicts[-1] = before
        before.update(noted)


def note_given_templates(values: Iterable[Any]) -> None:
    """Note templates that were not looked for but given as objects."""
    rendering = current_rendering()
    for value in map(without_laziness, values):
        template = getattr(value, "template", value) if isinstance(value, Backend) else value
        if rendering is None or not isinstance(template, Template):
            continue
        if template.origin.loader is None:
            rendering.obstacles.append("it includes a template that has no name")
        else:
            rendering.templates[str(template.origin.template_name)] = None


def engine_of(context: Context) -> Engine:
    """Return the engine of the template that is rendered."""
    if context.template is None:
        raise TemplateSyntaxError("A fragment is rendered by a template, not by its nodes alone.")
    engine: Engine = context.template.engine
    return engine
