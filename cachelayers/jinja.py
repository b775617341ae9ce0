"""The door in Jinja2: ``CacheLayersExtension``, for the options of a template engine."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jinja2 import Environment, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context

from cachelayers.fragments.given import OPTION_NAMES
from cachelayers.fragments.jinja_blocks import (
    Call,
    Tag,
    hole_of,
    show_fragment,
    show_fragments,
    show_hole,
    show_lone_hole,
)
from cachelayers.fragments.keys import digest_of
from cachelayers.hashing import build_cache_id, build_hashed_url, build_integrity

HOLES = "_cachelayers_holes"  # of a parser: those within the outermost fragment, by number
ITEM = "_cachelayers_item"  # of a parser: the names of an item of the outermost one, in a loop
ITEMS = "_cachelayers_items"  # the variable of a template that holds what is looped over
COUNT = "_cachelayers_count"  # of a parser: how many holes it has met
REFERRING = (nodes.Include, nodes.Import, nodes.FromImport)


def hashed_static(path: object) -> str:
    """Return the URL of a static file with the id of its content."""
    return build_hashed_url(path)


def cache_id(path: object) -> str:
    """Return the id of a static file's content alone."""
    return build_cache_id(path)


def static_integrity(path: object) -> str:
    """Return ``sha384-...`` for an attribute ``integrity``, or nothing where there is no file."""
    return build_integrity(path)


class CacheLayersExtension(Extension):
    """Adds the functions and blocks that are tags in Django's templates."""

    tags = {"fragment", "fragments", "uncached"}

    def __init__(self, environment: Environment) -> None:
        """Make them known to every template, imported ones too."""
        super().__init__(environment)
        environment.globals.update(
            hashed_static=hashed_static,
            cache_id=cache_id,
            static_integrity=static_integrity,
        )
        self._compiled = threading.local()
        self._tags: dict[tuple[Any, ...], Tag] = {}

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Remember the source that is about to be compiled."""
        self._compiled.digest = digest_of(source)
        return source

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """Compile a block of the extension."""
        token = next(parser.stream)
        if self.environment.is_async:
            parser.fail("fragments need an environment without enable_async", token.lineno)
        if token.value == "uncached":
            return self._parse_hole(parser, token.lineno)
        return self._parse_fragment(parser, token.lineno, is_list=token.value == "fragments")

    # {% fragment "name", argument, timeout=600 %} ... {% endfragment %}
    # {% fragments "name", argument for item in items, timeout=600 %} ... {% endfragments %}

    def _parse_fragment(self, parser: Parser, line: int, *, is_list: bool) -> list[nodes.Node]:
        parts = parse_parts(parser, line, is_list=is_list)
        is_outermost = getattr(parser, HOLES, None) is None
        if is_outermost:
            setattr(parser, HOLES, {})
            setattr(parser, ITEM, parts.names)
        holes: dict[int, nodes.Macro] = getattr(parser, HOLES)
        first = getattr(parser, COUNT, 0)
        end = "endfragments" if is_list else "endfragment"
        body = parser.parse_statements(
            ("name:else", f"name:{end}") if is_list else (f"name:{end}",)
        )
        otherwise: list[nodes.Node] = []
        if next(parser.stream).value == "else":
            otherwise = parser.parse_statements((f"name:{end}",), drop_needle=True)
        if is_outermost:
            setattr(parser, HOLES, None)
        shown = [name for name in names_in(body) if name not in parts.names]
        call = self.call_method(
            "_show_fragments" if is_list else "_show_fragment",
            [
                nodes.ContextReference(),
                nodes.Const((parser.name, line, self._compiled.digest)),
                nodes.Const(tuple(constant_names(body))),
                nodes.Const(shows_everything(body)),
                nodes.List(parts.given),
                nodes.Dict(parts.options),
                dictionary_of({name: nodes.Name(name, "load") for name in shown}),
                dictionary_of(
                    {
                        number: nodes.Name(hole.name, "load")
                        for number, hole in holes.items()
                        if number >= first
                    }
                ),
                *([nodes.Const(parts.names), nodes.Name(ITEMS, "load")] if is_list else []),
            ],
        )
        arguments = [nodes.Name(name, "param") for name in parts.names]
        block: nodes.Node = nodes.CallBlock(call, arguments, [], body).set_lineno(line)
        if is_list:
            # A list of its own: what is looped over may be read only once.
            items = nodes.Name(ITEMS, "store")
            read = nodes.Filter(parts.items, "list", [], [], None, None)
            block = nodes.If(nodes.Name(ITEMS, "load"), [block], [], otherwise, lineno=line)
            return [
                nodes.Assign(items, read, lineno=line),
                *self._holes(holes, is_outermost),
                block,
            ]
        return [*self._holes(holes, is_outermost), block]

    def _holes(self, holes: Mapping[int, nodes.Macro], is_outermost: bool) -> list[nodes.Macro]:
        # In front of the outermost one: there a hole is rendered, whether the rest is or not.
        return list(holes.values()) if is_outermost else []

    def _tag(
        self, place: tuple[str | None, int, str], named: Sequence[str], shows_everything: bool
    ) -> Tag:
        tag = self._tags.get(place)
        if tag is None:
            tag = self._tags[place] = Tag(*place, named, shows_everything)
        return tag

    def _show_fragment(
        self,
        context: Context,
        place: tuple[str | None, int, str],
        named: Sequence[str],
        shows_everything: bool,
        *parts: Any,
        caller: Call,
    ) -> str:
        tag = self._tag(place, named, shows_everything)
        return show_fragment(tag, context, *parts, caller=caller)

    def _show_fragments(
        self,
        context: Context,
        place: tuple[str | None, int, str],
        named: Sequence[str],
        shows_everything: bool,
        *parts: Any,
        caller: Call,
    ) -> str:
        tag = self._tag(place, named, shows_everything)
        return show_fragments(tag, context, *parts, caller=caller)

    # {% uncached %} ... {% enduncached %}

    def _parse_hole(self, parser: Parser, line: int) -> nodes.Node:
        body = parser.parse_statements(("name:enduncached",), drop_needle=True)
        holes: dict[int, nodes.Macro] | None = getattr(parser, HOLES, None)
        if holes is None:
            call = self.call_method("_show_lone_hole", [])
            return nodes.CallBlock(call, [], [], body).set_lineno(line)
        number = getattr(parser, COUNT, 0)
        setattr(parser, COUNT, number + 1)
        name = f"_cachelayers_hole_{number}"
        item = getattr(parser, ITEM)
        arguments = [nodes.Name(one, "param") for one in item]
        holes[number] = nodes.Macro(name, arguments, [], body, lineno=line)
        shown = self.call_method(
            "_show_hole",
            [
                nodes.Const(self._compiled.digest),
                nodes.Const(number),
                nodes.Name(name, "load"),
                *(nodes.Name(one, "load") for one in item),
            ],
        )
        return nodes.Output([nodes.MarkSafe(shown)]).set_lineno(line)

    def _show_hole(self, source: str, number: int, macro: Call, *item: Any) -> str:
        return show_hole(hole_of(source, number), macro, *item)

    def _show_lone_hole(self, caller: Call) -> str:
        return show_lone_hole(caller)


class Parts(NamedTuple):
    """What stands in a tag."""

    given: list[nodes.Expr]  # the name and the arguments
    options: list[nodes.Pair]
    names: tuple[str, ...] = ()  # of an item, in a loop
    items: nodes.Expr | None = None


def parse_parts(parser: Parser, line: int, *, is_list: bool) -> Parts:
    """Parse a name, arguments, a loop, and options such as ``timeout=600``."""
    given: list[nodes.Expr] = []
    options: dict[str, nodes.Pair] = {}
    names: tuple[str, ...] = ()
    items: nodes.Expr | None = None
    stream = parser.stream
    while stream.current.type != "block_end":
        if given or options:
            stream.skip_if("comma")
        if is_list and items is None and stream.skip_if("name:for"):
            target = parser.parse_assign_target(extra_end_rules=("name:in",))
            names = tuple(name.name for name in find_all([target], nodes.Name))
            stream.expect("name:in")
            items = parser.parse_expression()
        elif stream.current.type == "name" and stream.look().type == "assign":
            name = stream.expect("name").value
            stream.expect("assign")
            if name not in OPTION_NAMES or name in options:
                problem = "is given twice" if name in options else "is no option of a fragment"
                parser.fail(f"{name!r} {problem}; there are: {', '.join(OPTION_NAMES)}", line)
            options[name] = nodes.Pair(nodes.Const(name), parser.parse_expression())
        else:
            given.append(parser.parse_expression(with_condexpr=not is_list))
    if not given:
        parser.fail('a fragment has no name. Write one: {% fragment "menu" %}', line)
    if is_list and items is None:
        parser.fail('it has no loop. Write one: {% fragments "row" for item in items %}', line)
    return Parts(given, list(options.values()), names, items)


def dictionary_of(expressions: Mapping[Any, nodes.Expr]) -> nodes.Dict:
    """Return the node of a dictionary with constant keys."""
    return nodes.Dict([nodes.Pair(nodes.Const(key), value) for key, value in expressions.items()])


def names_in(body: Sequence[nodes.Node]) -> list[str]:
    """Return the names that stand in a block, but the extension's own."""
    found = {name.name for name in find_all(body, nodes.Name) if name.ctx == "load"}
    return sorted(name for name in found if not name.startswith("_cachelayers"))


def constant_names(body: Sequence[nodes.Node]) -> Iterator[str]:
    """Yield the names of templates that stand in a block."""
    for node in find_all(body, REFERRING):
        template = node.template
        items = template.items if isinstance(template, (nodes.List, nodes.Tuple)) else [template]
        for item in items:
            if isinstance(item, nodes.Const) and isinstance(item.value, str):
                yield item.value


def shows_everything(body: Sequence[nodes.Node]) -> bool:
    """Tell whether a block hands all names on to others, which may ask for any of them."""
    return bool(find_all(body, (*REFERRING, nodes.Block)))


def find_all(body: Sequence[nodes.Node], kinds: Any) -> list[Any]:
    """Return the nodes of some kinds in a block, at every depth."""
    found: list[Any] = []
    for node in body:
        found += [node] if isinstance(node, kinds) else []
        found += node.find_all(kinds)
    return found
