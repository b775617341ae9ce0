"""The nodes of ``{% fragment %}`` and ``{% uncached %}`` in Django's templates."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Container, Hashable, Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

from django.http import HttpRequest
from django.template import Context, Engine, Node, NodeList, TemplateSyntaxError
from django.template.base import Parser, Token
from django.template.loader_tags import ExtendsNode, IncludeNode

from cachelayers.fragments.given import Options
from cachelayers.fragments.keys import digest_of
from cachelayers.fragments.lists import Listing, serve_list
from cachelayers.fragments.loops import Loop
from cachelayers.fragments.markup import (
    NAMELESS,
    Hole,
    Templates,
    current_rendering,
    rendering_of,
)
from cachelayers.fragments.seen import NotedNames, Seen, Sight
from cachelayers.fragments.serving import Fragment, Memory, serve
from cachelayers.fragments.sources import (
    are_unchanged,
    digest_of_name,
    digest_of_nodes,
    note_lookups,
    origin_of,
    source_around,
    source_of_libraries,
)

HOLES_OF_PARSER = "_cachelayers_holes"
NO_NAMES: Mapping[str, Any] = {}


class Surroundings:
    """The template that a tag stands in, as it was while the tag was compiled."""

    def __init__(self, parser: Parser, token: Token) -> None:
        """Read what is only known now."""
        self.origin = origin_of(parser)
        self.where = f"{self.origin}, line {token.lineno}"
        self._digest = digest_of(source_around(parser), source_of_libraries(parser))
        self._texts: dict[Hashable, tuple[tuple[str, ...], frozenset[str]]] = {}

    def texts(self, context: Context, nodes: NodeList) -> tuple[tuple[str, ...], frozenset[str]]:
        """Return what tells what nodes are rendered from, and how; and the names followed for it.

        The templates that extend the one with the tag count too: their blocks may be in the nodes.
        So does what changes every value that is written: a template may be included both ways.
        """
        history = context.render_context.get(ExtendsNode.context_key)
        names = tuple([origin.name for origin in history]) if history else ()
        manner = context.autoescape, context.use_l10n, context.use_tz, names
        found = self._texts.get(manner)
        if found is None:
            engine = engine_of(context)
            note_lookups(engine)
            followed, followed_names = digest_of_nodes(engine, self.origin, nodes)
            sources = [str(origin.loader.get_contents(origin)) for origin in history or ()]
            texts = digest_of(self._digest, followed, *sources), str(manner[:3])
            found = self._texts[manner] = texts, followed_names
        return found


class FragmentNode(Node):
    """A block that is kept."""

    def __init__(self, nodelist: NodeList, options: Options, surroundings: Surroundings) -> None:
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
        texts, known = self._surroundings.texts(context, self.nodelist)
        block = DjangoBlock(self.nodelist, context, known, self._holes)
        return serve(Fragment(where, given, arguments, texts, block, self._memory))


class FragmentsNode(Node):
    """A block that is kept for each item of a list."""

    child_nodelists = ("nodelist", "nodelist_empty")

    def __init__(
        self,
        nodelist: NodeList,
        nodelist_empty: NodeList,
        loop: Loop,
        options: Options,
        surroundings: Surroundings,
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

        def block_of(number: int) -> DjangoBlock:
            return DjangoBlock(self.nodelist, context, known, self._holes, items[number])

        return serve_list(
            Listing(
                where,
                given,
                texts,
                self._memory,
                DjangoBlock(self.nodelist, context, known, self._holes),
                self._arguments(context, items),
                block_of,
                "user" in self._loop.names,
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
            found.append([*names.values(), *others])
        return found


class DjangoBlock:
    """The nodes between the tags, with the context they are rendered in."""

    def __init__(
        self,
        nodes: NodeList,
        context: Context,
        known_templates: frozenset[str],
        holes: Mapping[Hole, UncachedNode],
        item: Mapping[str, Any] = NO_NAMES,
    ) -> None:
        """Take them.

        ``known_templates``: names whose digests are in the key. ``item``: names that only this
        block of a list has.
        """
        self._nodes, self._context, self._item = nodes, context, item
        self._known_templates, self._holes = known_templates, holes

    @property
    def request(self) -> HttpRequest | None:
        """Return the request that it is rendered for, if the template knows it."""
        request: HttpRequest | None = getattr(self._context, "request", None)
        return request if request is not None else self._context.get("request")

    @property
    def own_holes(self) -> Container[Hole]:
        """Return the holes between the tags."""
        return self._holes

    @property
    def user(self) -> Any:
        """Return what the template knows under that name."""
        return self._item["user"] if "user" in self._item else self._context.get("user")

    @property
    def names(self) -> Mapping[str, Any]:
        """Return what the template knows."""
        return ChainMap(dict(self._item), *reversed(self._context.dicts))

    def render(self) -> tuple[str, Mapping[str, Sight]]:
        """Render it; what it sets stays within it, as it would not be set by a hit."""
        context, seen = self._context, Seen()
        names, state = context.dicts, context.render_context.dicts[0]
        around = [*names, dict(self._item)]
        context.dicts = [*(NotedNames(some, seen) for some in around), {}]
        # Here an include keeps the template it has found; it is to look for it again.
        context.render_context.dicts[0] = {
            name: value for name, value in state.items() if not isinstance(name, IncludeNode)
        }
        try:
            return self._nodes.render(context), seen.values
        finally:
            context.dicts, context.render_context.dicts[0] = names, state

    def render_unnoticed(self) -> str:
        """Render it as if there were no tag around it."""
        with self._context.push(**self._item):
            return self._nodes.render(self._context)

    def fill(self, hole: Hole) -> str:
        """Render a hole, in the context around the outermost fragment."""
        node = self._holes.get(hole) or find_hole(engine_of(self._context), hole)
        with rendering_of(None), self._context.push(**self._item):
            return node.nodelist.render(self._context)

    def digests_of(self, names: Sequence[str]) -> Templates:
        """Return the digests of those templates that the key does not cover."""
        engine = engine_of(self._context)
        unknown = sorted(set(names) - self._known_templates)
        return {name: digest_of_name(engine, name) for name in unknown}

    def are_unchanged(self, templates: Templates) -> bool:
        """Tell whether the digests are still the same."""
        return are_unchanged(engine_of(self._context), templates)


class UncachedNode(Node):
    """A hole: a block that is rendered for each request, within a fragment that is kept."""

    def __init__(self, nodelist: NodeList, hole: Hole) -> None:
        """Take the compiled block, and what it is found by."""
        self.nodelist = nodelist
        self.hole = hole

    def render(self, context: Context) -> str:
        """Leave a hole, or where no fragment is around it, render it."""
        rendering = current_rendering()
        return (
            self.nodelist.render(context) if rendering is None else rendering.leave_hole(self.hole)
        )


def name_hole(parser: Parser) -> Hole:
    """Return what a hole is found by, while its tag is compiled."""
    number = getattr(parser, HOLES_OF_PARSER, 0)
    setattr(parser, HOLES_OF_PARSER, number + 1)
    origin = origin_of(parser)
    if origin.loader is None:
        return Hole(f"{NAMELESS}{digest_of(source_around(parser))}", number)
    return Hole(str(origin.template_name), number)


# The holes of all templates that are compiled, for fragments that include them.
_holes: WeakValueDictionary[tuple[int | None, Hole], UncachedNode] = WeakValueDictionary()


def register_hole(node: UncachedNode, parser: Parser) -> None:
    """Have a hole found by its name; where that is the name of a template, within its engine."""
    loader = origin_of(parser).loader
    _holes[None if loader is None else id(loader.engine), node.hole] = node


def find_hole(engine: Engine, hole: Hole) -> UncachedNode:
    """Return the node of a hole in another template; compiling that makes it known."""
    if hole.template.startswith(NAMELESS):
        return _holes[None, hole]
    if (id(engine), hole) not in _holes:
        engine.get_template(hole.template)
    return _holes[id(engine), hole]


def holes_in(nodes: NodeList) -> dict[Hole, UncachedNode]:
    """Return the holes that stand between a fragment's tags."""
    found: list[Any] = nodes.get_nodes_by_type(UncachedNode)
    return {node.hole: node for node in found}


def engine_of(context: Context) -> Engine:
    """Return the engine of the template that is rendered."""
    if context.template is None:
        raise TemplateSyntaxError("A fragment is rendered by a template, not by its nodes alone.")
    engine: Engine = context.template.engine
    return engine
