"""``CacheLayersExtension``, the Jinja2 extension with the tags and the static file functions.

It compiles the tags to calls of `fragments.jinja` and `staticfiles`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jinja2 import Environment, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context

from cachelayers.fragments import (
    OPTION_NAMES,
    JinjaCall,
    JinjaTag,
    digest_of,
    hole_of,
    note_lone_hole,
    show_fragment,
    show_fragments,
    show_hole,
    track_environment,
)
from cachelayers.staticfiles import build_cache_id, build_hashed_url, build_integrity

ITEMS = "_cachelayers_items"  # the variable with the looped-over items
COMPILING = "_cachelayers_compiling"  # attribute of a parser
MOST_TAGS = 1_000  # templates made from strings may be any number
OF_MACRO = ("caller", "varargs", "kwargs")
LOOP_NAME = "loop"
# The attributes of a loop that can be in a key. Others have state.
TELLING_OF_LOOP = {
    **{
        name: name
        for name in (
            "index",
            "index0",
            "revindex",
            "revindex0",
            "first",
            "last",
            "length",
            "depth",
            "depth0",
            "previtem",
            "nextitem",
        )
    },
    "cycle": "index0",
}
# These tags do not change the text inside them. {% autoescape %} may: macros outside ignore it.
PLAIN_TAGS = frozenset({"block", "for", "fragment", "fragments", "if", "uncached", "with"})
REFERRING = (nodes.Include, nodes.Import, nodes.FromImport)


def hashed_static(path: object) -> str:
    """Return the URL of a static file with its content id."""
    return build_hashed_url(path)


def cache_id(path: object) -> str:
    """Return the content id of a static file."""
    return build_cache_id(path)


def static_integrity(path: object) -> str:
    """Return ``sha384-...`` for an ``integrity`` attribute, or "" if the file does not exist."""
    return build_integrity(path)


FUNCTIONS = {
    "hashed_static": hashed_static,
    "cache_id": cache_id,
    "static_integrity": static_integrity,
}


class CacheLayersExtension(Extension):
    """Adds the fragment tags, and the static file tags, which are functions too."""

    tags = {"fragment", "fragments", "uncached", *FUNCTIONS}

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.globals.update(FUNCTIONS)
        track_environment(environment)
        self._compiled = threading.local()
        self._tags: dict[tuple[Any, ...], JinjaTag] = {}

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Remember the digest of the source to be compiled."""
        self._compiled.digest = digest_of(source)
        return source

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        token = next(parser.stream)
        if token.value in FUNCTIONS:
            return self._parse_static(parser, token.value, token.lineno)
        if self.environment.is_async:
            parser.fail("fragments need an environment without enable_async", token.lineno)
        if token.value == "uncached":
            return self._parse_hole(parser, token.lineno)
        return self._parse_fragment(parser, token.lineno, is_list=token.value == "fragments")

    # {% hashed_static "img/car.jpg" %}
    # {% hashed_static "img/car.jpg" as name %}

    def _parse_static(self, parser: Parser, name: str, line: int) -> nodes.Node:
        path = parser.parse_expression()
        call = self.call_method("_call_static", [nodes.Const(name), path], lineno=line)
        if parser.stream.skip_if("name:as"):
            return nodes.Assign(parser.parse_assign_target(name_only=True), call, lineno=line)
        return nodes.Output([call], lineno=line)

    def _call_static(self, name: str, path: object) -> str:
        return FUNCTIONS[name](path)

    # {% fragment "name", argument, timeout=600 %} ... {% endfragment %}
    # {% fragments "name", argument for item in items, timeout=600 %} ... {% endfragments %}

    def _parse_fragment(self, parser: Parser, line: int, *, is_list: bool) -> list[nodes.Node]:
        parts = parse_parts(parser, line, is_list=is_list)
        compiling = compiling_of(parser)
        is_outermost = compiling.holes is None
        if compiling.holes is None:
            compiling.holes, compiling.item = {}, parts.names
        first, holes = compiling.count, compiling.holes
        end = "endfragments" if is_list else "endfragment"
        body = parser.parse_statements(
            ("name:else", f"name:{end}") if is_list else (f"name:{end}",)
        )
        otherwise: list[nodes.Node] = []
        if next(parser.stream).value == "else":
            otherwise = parser.parse_statements((f"name:{end}",), drop_needle=True)
        if is_outermost:
            compiling.holes = None
        number = compiling.next_number()
        block = f"_cachelayers_block_{number}"
        renamed = rename_of_macro(body, block)
        asked = {name: one for name, one in names_in(body).items() if name not in parts.names}
        own_holes = {one: hole for one, hole in holes.items() if one >= first}
        shown = self.call_method(
            "_show_fragments" if is_list else "_show_fragment",
            [
                nodes.ContextReference(),
                nodes.Const((parser.name, line, number, self._compiled.digest)),
                nodes.Const(tuple(constant_names(body))),
                nodes.Const(tuple(argument_names_in(parts.name_and_arguments[1:]))),
                nodes.List(parts.name_and_arguments),
                nodes.Dict(parts.options),
                dictionary_of(asked),
                dictionary_of({n: nodes.Name(hole.name, "load") for n, hole in own_holes.items()}),
                nodes.Name(block, "load"),
                *([nodes.Const(parts.names), nodes.Name(ITEMS, "load")] if is_list else []),
            ],
        )
        arguments = [nodes.Name(name, "param") for name in parts.names]
        compiled: list[nodes.Node] = [
            # Before the outermost fragment: a hole is rendered on hits too.
            *(holes.values() if is_outermost else ()),
            *renamed,
            nodes.Macro(block, arguments, [], body, lineno=line),
            # Not a CallBlock: a template that extends another would output it too early.
            nodes.Output([nodes.MarkSafe(shown)], lineno=line),
        ]
        if parts.items is None:
            return compiled
        # Read into a list, as an iterator can be read only once.
        read = nodes.Filter(parts.items, "list", [], [], None, None)
        return [
            nodes.Assign(nodes.Name(ITEMS, "store"), read, lineno=line),
            nodes.If(nodes.Name(ITEMS, "load"), compiled, [], otherwise, lineno=line),
        ]

    def _tag(
        self,
        position: tuple[str | None, int, int, str],
        named: Sequence[str],
        argument_names: Sequence[str],
    ) -> JinjaTag:
        tag = self._tags.get(position)
        if tag is None:
            if len(self._tags) >= MOST_TAGS:
                self._tags.clear()
            tag = self._tags[position] = JinjaTag(*position, named, frozenset(argument_names))
        return tag

    def _show_fragment(
        self,
        context: Context,
        position: tuple[str | None, int, int, str],
        named: Sequence[str],
        argument_names: Sequence[str],
        *parts: Any,
    ) -> str:
        return show_fragment(self._tag(position, named, argument_names), context, *parts)

    def _show_fragments(
        self,
        context: Context,
        position: tuple[str | None, int, int, str],
        named: Sequence[str],
        argument_names: Sequence[str],
        *parts: Any,
    ) -> str:
        return show_fragments(self._tag(position, named, argument_names), context, *parts)

    # {% uncached %} ... {% enduncached %}

    def _parse_hole(self, parser: Parser, line: int) -> nodes.Node | list[nodes.Node]:
        compiling = compiling_of(parser)
        # A surrounding tag may change the text, such as {% filter %}; the hole is not there yet
        # then.
        around = [tag for tag in parser._tag_stack[:-1] if tag not in PLAIN_TAGS]
        body = parser.parse_statements(("name:enduncached",), drop_needle=True)
        if compiling.holes is None or around:
            reason = around[-1] if around else ""
            note = self.call_method("_note_lone_hole", [nodes.Const(reason)])
            return [nodes.Output([note], lineno=line), *body]
        number = compiling.next_number()
        name = f"_cachelayers_hole_{number}"
        item = compiling.item
        arguments = [nodes.Name(one, "param") for one in item]
        compiling.holes[number] = nodes.Macro(name, arguments, [], body, lineno=line)
        shown = self.call_method(
            "_show_hole",
            [
                nodes.Const(self._compiled.digest),
                nodes.Const(number),
                nodes.Name(name, "load"),
                *(nodes.Name(one, "load") for one in item),
            ],
        )
        return nodes.Output([nodes.MarkSafe(shown)], lineno=line)

    def _show_hole(self, source: str, number: int, macro: JinjaCall, *item: Any) -> str:
        return show_hole(hole_of(source, number), macro, *item)

    def _note_lone_hole(self, wrapper: str) -> str:
        return note_lone_hole(wrapper)


@dataclass
class Compiling:
    """The state of a template while it is parsed."""

    count: int = 0
    holes: dict[int, nodes.Macro] | None = None  # of the outermost fragment, by number
    item: tuple[str, ...] = ()  # the loop variables of the outermost fragment

    def next_number(self) -> int:
        self.count += 1
        return self.count - 1


def compiling_of(parser: Parser) -> Compiling:
    if not hasattr(parser, COMPILING):
        setattr(parser, COMPILING, Compiling())
    compiling: Compiling = getattr(parser, COMPILING)
    return compiling


def rename_of_macro(body: Sequence[nodes.Node], block: str) -> list[nodes.Node]:
    """Make a body use ``caller`` and the like of the macro around it.

    The body is compiled to a macro, which would have its own.
    """
    assignments: list[nodes.Node] = []
    for name in OF_MACRO:
        used = [one for one in names_outside_of_macros(body) if one.name == name]
        for one in used:
            one.name = f"{block}_{name}"
        if used:
            store = nodes.Name(f"{block}_{name}", "store")
            assignments.append(nodes.Assign(store, nodes.Name(name, "load")))
    return assignments


def names_outside_of_macros(body: Iterable[nodes.Node]) -> Iterator[nodes.Name]:
    """Yield the names in a block, except those within its macros and calls of macros.

    There, ``caller`` and the like belong to the inner macro.
    """
    for node in body:
        if isinstance(node, nodes.Name):
            yield node
        elif isinstance(node, nodes.CallBlock):
            yield from names_outside_of_macros([node.call])
        elif not isinstance(node, nodes.Macro):
            yield from names_outside_of_macros(node.iter_child_nodes())


class TagParts(NamedTuple):
    """The parts of a tag."""

    name_and_arguments: list[nodes.Expr]
    options: list[nodes.Pair]
    names: tuple[str, ...] = ()  # the loop variables
    items: nodes.Expr | None = None


def parse_parts(parser: Parser, line: int, *, is_list: bool) -> TagParts:
    """Parse a name, arguments, a loop, and options such as ``timeout=600``."""
    name_and_arguments: list[nodes.Expr] = []
    options: dict[str, nodes.Pair] = {}
    names: tuple[str, ...] = ()
    items: nodes.Expr | None = None
    stream = parser.stream
    while stream.current.type != "block_end":
        if name_and_arguments or options:
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
            name_and_arguments.append(parser.parse_expression(with_condexpr=not is_list))
    if not name_and_arguments:
        parser.fail('a fragment has no name. Write one: {% fragment "menu" %}', line)
    if is_list and items is None:
        parser.fail('it has no loop. Write one: {% fragments "row" for item in items %}', line)
    return TagParts(name_and_arguments, list(options.values()), names, items)


def dictionary_of(expressions: Mapping[Any, nodes.Expr]) -> nodes.Dict:
    return nodes.Dict([nodes.Pair(nodes.Const(key), value) for key, value in expressions.items()])


def names_in(body: Sequence[nodes.Node]) -> dict[str, nodes.Expr]:
    """Return the names and the loop attributes in a block, with the nodes of their values.

    Without the extension's own names, except those for a macro's ``caller`` and the like.
    """
    loaded = {name.name for name in find_all(body, nodes.Name) if name.ctx == "load"}
    names = sorted(loaded.difference(OF_MACRO))
    found: dict[str, nodes.Expr] = {
        name: nodes.Name(name, "load")
        for name in names
        if name != LOOP_NAME and (not name.startswith("_cachelayers") or name.endswith(OF_MACRO))
    }
    for attribute in uses_of_loop(body):
        loop = nodes.Name(LOOP_NAME, "load")
        if attribute in TELLING_OF_LOOP:
            name = f"{LOOP_NAME}.{TELLING_OF_LOOP[attribute]}"
            value = nodes.Getattr(loop, TELLING_OF_LOOP[attribute], "load")
            is_there = nodes.Test(loop, "defined", [], [], None, None)
            found[name] = nodes.CondExpr(is_there, value, nodes.Const(None))
        else:
            found[LOOP_NAME] = loop
    return found


def uses_of_loop(body: Iterable[nodes.Node]) -> Iterator[str]:
    """Yield the loop attributes used in a block; "" for the loop itself."""
    for node in body:
        if isinstance(node, nodes.Name):
            if node.name == LOOP_NAME and node.ctx == "load":
                yield ""
        elif isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
            if node.node.name == LOOP_NAME:
                yield node.attr
        elif isinstance(node, nodes.For):
            # Within its body, "loop" means the inner loop.
            yield from uses_of_loop([node.iter, *node.else_])
        else:
            yield from uses_of_loop(node.iter_child_nodes())


def constant_names(body: Sequence[nodes.Node]) -> Iterator[str]:
    """Yield the template names written in a block."""
    for node in find_all(body, REFERRING):
        template = node.template
        items = template.items if isinstance(template, (nodes.List, nodes.Tuple)) else [template]
        for item in items:
            if isinstance(item, nodes.Const) and isinstance(item.value, str):
                yield item.value


def argument_names_in(arguments: Sequence[nodes.Expr]) -> Iterator[str]:
    """Yield the names that are arguments."""
    for argument in arguments:
        if isinstance(argument, nodes.Name):
            yield argument.name


def find_all(body: Sequence[nodes.Node], kinds: Any) -> list[Any]:
    """Return the nodes of some kinds at every depth."""
    found: list[Any] = []
    for node in body:
        found += [node] if isinstance(node, kinds) else []
        found += node.find_all(kinds)
    return found
