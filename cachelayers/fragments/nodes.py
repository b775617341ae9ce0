"""The nodes of ``{% fragment %}``, ``{% fragments %}`` and ``{% uncached %}``.

The template tags compile to these nodes; `serving` and `lists` find or render their text.
"""

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
    TrackedLoop,
    TrackedNames,
    TrackedState,
    is_loop,
    untracked,
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
    are_still_found,
    are_unchanged,
    digest_of_name,
    follow_nodes,
    has_loaders_of_others,
    origin_of,
    source_around,
    source_of_libraries,
    track_lookups,
)
from cachelayers.fragments.tag_options import Loop, Options
from cachelayers.fragments.variants import requests_of, track_locale, users_of
from cachelayers.invalidation import without_laziness

HOLE_COUNT = "_cachelayers_holes"  # of a parser
# These tags do not change the text inside them. Others, such as {% filter %}, may change it, and a
# hole's text is not there yet when they do.
PLAIN_TAGS = frozenset(
    """autoescape block comment extends for fragment fragments if ifchanged language localize
    localtime partialdef timezone uncached verbatim with""".split()  # noqa: SIM905 - easier to read
)
Name = tuple[str, int]


class UncachedNode(Node):
    """A hole: a block that is rendered for each request, within a cached fragment."""

    def __init__(self, nodelist: NodeList, name: Name, wrapper: str | None) -> None:
        """``wrapper``: a tag around the hole that may change its text."""
        self.nodelist = nodelist
        self.name = name
        self._wrapper = wrapper

    def render(self, context: Context) -> str:
        """Return a mark for the hole, or the rendered block if no fragment is around it."""
        rendering = current_rendering()
        if rendering is None:
            return self.nodelist.render(context)
        if self._wrapper is not None:
            rendering.obstacles.append(f"{{% {self._wrapper} %}} is around an {{% uncached %}}")
            return self.nodelist.render(context)
        output_settings = context.autoescape, context.use_l10n, context.use_tz
        return rendering.leave_hole(Hole(*self.name, output_settings))


def name_hole(parser: Parser) -> Name:
    """Return the name by which the hole of the tag being compiled can be found again."""
    number = getattr(parser, HOLE_COUNT, 0)
    setattr(parser, HOLE_COUNT, number + 1)
    origin = origin_of(parser)
    template = "" if origin.loader is None else str(origin.template_name)
    # The source counts too: a template may extend another one with the same name.
    return f"{template}{NAMELESS}{digest_of(source_around(parser))}", number


def wrapper_of_hole(parser: Parser) -> str | None:
    """Return a tag between the hole and its fragment that may change its text, or None."""
    around = [command for command, _ in parser.command_stack]
    for command in reversed(around[:-1]):  # the last is the hole's own
        if command not in PLAIN_TAGS:
            return str(command)
    return None


# The holes of all compiled templates, by engine and name.
_holes: WeakValueDictionary[tuple[int | None, Name], UncachedNode] = WeakValueDictionary()


def register_hole(node: UncachedNode, parser: Parser) -> None:
    """Register a hole under its name, per engine if the template has a name."""
    loader = origin_of(parser).loader
    _holes[None if loader is None else id(loader.engine), node.name] = node


def find_hole(engine: Engine, name: Name) -> UncachedNode:
    """Return the node of a hole, and compile its template if needed. Raises HoleLost."""
    template_name = name[0].rpartition(NAMELESS)[0]
    if not template_name:
        key: tuple[int | None, Name] = (None, name)
        template = None
    else:
        key = (id(engine), name)
        try:
            # Keep the template alive until its node is found: a loader need not cache it.
            template = None if key in _holes else engine.get_template(template_name)
        except TemplateDoesNotExist:
            raise HoleLost from None
    node = _holes.get(key)
    del template
    if node is None:
        raise HoleLost
    return node


def holes_in(nodes: NodeList) -> dict[Name, UncachedNode]:
    return {
        node.name: node
        for node in nodes.get_nodes_by_type(UncachedNode)
        if isinstance(node, UncachedNode)
    }


COUNT = "_cachelayers_fragments"  # of a parser
NO_NAMES: Mapping[str, Any] = {}
Texts = tuple[tuple[str, ...], frozenset[str]]


class TagSurroundings:
    """The template that contains a tag, as it was when the tag was compiled."""

    def __init__(self, parser: Parser, token: Token) -> None:
        track_locale()
        self.origin = origin_of(parser)
        self.where = f"{self.origin}, line {token.lineno}"
        # Another tag of the file may have the same name and arguments, but another body.
        number = getattr(parser, COUNT, 0)
        setattr(parser, COUNT, number + 1)
        self._digest = digest_of(source_around(parser), source_of_libraries(parser), str(number))
        self._texts: dict[Hashable, tuple[Texts, Sequence[FoundTemplate]]] = {}

    def texts(self, context: Context, nodes: NodeList) -> Texts:
        """Return what identifies the templates and the output settings, and the templates followed.

        Templates that extend the tag's template count too: their blocks may be among the nodes. The
        output settings count because a template may be included with and without autoescaping.
        """
        history = context.render_context.get(ExtendsNode.context_key)
        names = tuple([origin.name for origin in history]) if history else ()
        output_settings = context.autoescape, context.use_l10n, context.use_tz, names
        found, templates = self._texts.get(output_settings, (None, ()))
        if found is None or (templates and not are_still_found(engine_of(context), templates)):
            engine = engine_of(context)
            track_lookups(engine)
            followed = follow_nodes(engine, self.origin, nodes)
            origins = [self.origin, *(history or ())]
            sources = [source_of(origin, context) for origin in origins]
            texts = digest_of(self._digest, followed.digest(), *sources), str(output_settings[:3])
            found = texts, frozenset(followed.sources)
            if followed.are_lasting and UNKNOWN_SOURCE not in names:
                self._texts[output_settings] = (
                    found,
                    followed.templates if has_loaders_of_others(engine) else (),
                )
        return found


def source_of(origin: Origin, context: Context) -> str:
    """Return the source of a template on the way to the rendered one."""
    if origin.loader is not None:
        loader: Any = origin.loader
        return str(loader.get_contents(origin))
    # A template made from a string has no loader; it is one of those being rendered.
    for template in (context.template, context.render_context.template):
        if isinstance(template, Template) and template.origin is origin:
            return str(template.source)
    return ""


class FragmentNode(Node):
    def __init__(self, nodelist: NodeList, options: Options, surroundings: TagSurroundings) -> None:
        self.nodelist = nodelist
        self._options = options
        self._surroundings = surroundings
        self._memory = Memory()
        self._holes = holes_in(nodelist)

    def render(self, context: Context) -> str:
        where = self._surroundings.where
        tag_options = self._options.read(context, where)
        arguments = [argument.resolve(context) for argument in self._options.arguments]
        # Not by their truth: that would run a queryset.
        if any(one is None or (type(one) is str and not one) for one in arguments):
            self._options.warn_of_missing(context, where)
        texts, known_templates = self._surroundings.texts(context, self.nodelist)
        block = DjangoBlock(
            self.nodelist, context, known_templates, self._holes, self._options.argument_names
        )
        first = look_first(tag_options, arguments, texts, self._memory, block)
        if isinstance(first, str):
            return first
        return serve(Fragment(where, tag_options, arguments, texts, block, self._memory, first))


class FragmentsNode(Node):
    child_nodelists = ("nodelist", "nodelist_empty")

    def __init__(
        self,
        nodelist: NodeList,
        nodelist_empty: NodeList,
        loop: Loop,
        options: Options,
        surroundings: TagSurroundings,
    ) -> None:
        self.nodelist, self.nodelist_empty = nodelist, nodelist_empty
        self._loop, self._options, self._surroundings = loop, options, surroundings
        self._memory = Memory()
        self._holes = holes_in(nodelist)

    def render(self, context: Context) -> str:
        """Return the texts of all items, joined."""
        items = self._loop.items(context)
        if not items:
            return self.nodelist_empty.render(context)
        where = self._surroundings.where
        tag_options = self._options.read(context, where)
        texts, known_templates = self._surroundings.texts(context, self.nodelist)

        argument_names = self._options.argument_names | {*self._loop.names}
        block = DjangoBlock(self.nodelist, context, known_templates, self._holes, argument_names)

        def block_of(number: int) -> DjangoBlock:
            return block.of_item(items[number])

        return serve_list(
            Listing(
                where,
                tag_options,
                texts,
                self._memory,
                block,
                self._arguments(context, items),
                block_of,
            )
        )

    def _arguments(
        self, context: Context, items: Sequence[Mapping[str, Any]]
    ) -> list[list[object]]:
        """Return the arguments of each item's block: the item, then the tag's arguments."""
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
    """The nodes between the tags, with the context that they are rendered in."""

    def __init__(
        self,
        nodes: NodeList,
        context: Context,
        known_templates: frozenset[str],
        holes: Mapping[tuple[str, int], UncachedNode],
        argument_names: AbstractSet[str],
        item: Mapping[str, Any] = NO_NAMES,
    ) -> None:
        """The key covers the digests of ``known_templates``. ``item``: variables of one item."""
        self.argument_names = argument_names
        self.remembered: Mapping[str, str] = {}
        self._nodes, self._context, self._item = nodes, context, item
        self._known_templates, self._holes = known_templates, holes
        self._around = [*context.dicts]
        self._names = Names(self._find)

    def of_item(self, item: Mapping[str, Any]) -> DjangoBlock:
        """Return the block of one item; ``self`` is the block of the whole list."""
        block = copy(self)
        block._item = item
        return block

    def _find(self, name: str) -> Any:
        """Return the value of a name around the block, or ABSENT."""
        return context_value(self._around, name)

    def named(self, name: str) -> CanonicalName:
        return self._names.canonical(name)

    def form_of(self, name: str) -> str:
        return self._names.canonical(name).text

    @property
    def request(self) -> Any:
        """Return the request that the template knows, or None."""
        request = getattr(self._context, "request", None)
        return request if request is not None else self._context_value("request")

    @property
    def own_holes(self) -> Container[tuple[str, int]]:
        return self._holes

    @property
    def names(self) -> Mapping[str, Any]:
        return ChainMap(dict(self._item), *map(untracked, reversed(self._context.dicts)))

    def users(self) -> list[Any]:
        return users_of(self._context_value("user"), self.request, self._context_value("view"))

    def requests(self) -> list[Any]:
        return requests_of(self.request, self._context_value("view"))

    def _context_value(self, name: str) -> Any:
        # Look into the dictionaries themselves: the context would record this as a lookup by the
        # template.
        if name in self._item:
            return self._item[name]
        for around in reversed(self._around):
            names = untracked(around)
            if name in names:
                return names[name]
        return None

    def render(self) -> tuple[str, Mapping[str, Any]]:
        """Render the block. Its assignments are undone, as a hit does not make them either."""
        context, looked_up = self._context, LookedUp(self._names.note)
        names = context.dicts
        loop = context_value(names, FORLOOP)
        own = {FORLOOP: TrackedLoop(loop if isinstance(loop, dict) else {}, FORLOOP, looked_up)}
        context.dicts = [*(TrackedNames(some, looked_up) for some in names), {**self._item}, own]
        try:
            with (
                looking_up_anew(context.render_context),
                tracking_state(context.render_context, looked_up, is_in_loop=is_loop(loop)),
            ):
                text = self._nodes.render(context)
        finally:
            context.dicts = names
        if (rendering := current_rendering()) is not None:
            rendering.obstacles += looked_up.obstacles
        note_template_objects([*looked_up.values.values(), *self._item.values()])
        return text, looked_up.values

    def render_without_tag(self) -> str:
        """Render the block as if it had no tag around it; its assignments are undone."""
        with self._context.push(**self._item):
            return self._nodes.render(self._context)

    def fill(self, hole: Hole) -> str:
        """Render a hole in the context around the outermost fragment."""
        context = self._context
        node = self._holes.get(hole.name) or find_hole(engine_of(context), hole.name)
        before = context.autoescape, context.use_l10n, context.use_tz
        set_output_settings(context, *hole.output_settings)
        try:
            with rendering_of(None), context.push(**self._item):
                return node.nodelist.render(context)
        finally:
            set_output_settings(context, *before)

    def digests_of(self, names: Sequence[str]) -> Templates:
        """Return the digests of the templates that the key does not cover."""
        engine = engine_of(self._context)
        unknown = sorted(set(names) - self._known_templates)
        return {name: digest_of_name(engine, name) for name in unknown}

    def are_unchanged(self, templates: Templates) -> bool:
        return are_unchanged(engine_of(self._context), templates)


def set_output_settings(
    context: Context, autoescape: bool | None, use_l10n: bool | None, use_tz: bool | None
) -> None:
    context.autoescape, context.use_l10n, context.use_tz = bool(autoescape), use_l10n, use_tz


@contextmanager
def looking_up_anew(state: RenderContext) -> Iterator[None]:
    """Make includes and inclusion tags look for their templates again; they cache them per page."""
    found = []
    states: list[dict[Any, Any]] = [state.dicts[0], state.dicts[-1]]
    for names in states:
        used = {key: names[key] for key in names if isinstance(key, (IncludeNode, InclusionNode))}
        for key in used:
            del names[key]
        found.append(used)
    try:
        yield
    finally:
        for names, used in zip(states, found, strict=True):
            names.update(used)


@contextmanager
def tracking_state(
    state: RenderContext, looked_up: LookedUp, *, is_in_loop: bool
) -> Iterator[None]:
    """Record which state of tags outlives one use of the block; the state itself is kept."""
    before = state.dicts[-1]
    tracked = state.dicts[-1] = TrackedState(before, looked_up, is_in_loop=is_in_loop)
    try:
        yield
    finally:
        state.dicts[-1] = before
        before.update(tracked)


def note_template_objects(values: Iterable[Any]) -> None:
    """Record templates that the block got as objects, without looking for them."""
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
    if context.template is None:
        raise TemplateSyntaxError("A fragment is rendered by a template, not by its nodes alone.")
    engine: Engine = context.template.engine
    return engine
