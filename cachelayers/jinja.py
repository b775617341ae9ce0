"""The door in Jinja2: ``CacheLayersExtension``, for the options of a template engine."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jinja2 import Environment, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context

from cachelayers.fragments import OPTION_NAMES, digest_of
from cachelayers.fragments.jinja import (
    Call,
    Tag,
    hole_of,
    note_all,
    note_lone_hole,
    show_fragment,
    show_fragments,
    show_hole,
)
from cachelayers.staticfiles import build_cache_id, build_hashed_url, build_integrity

ITEMS = "_cachelayers_items"  # the variable of a template that holds what is looped over
COMPILING = "_cachelayers_compiling"  # of a parser
MOST_TAGS = 1_000  # remembered; templates that are made from strings may be any number
OF_MACRO = ("caller", "varargs", "kwargs")
LOOP_NAME = "loop"
# What may be asked of a loop, and what tells it from others. Others go on from use to use.
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
# Tags that write what is in them as it is. Not {% autoescape %}: a macro outside does not know it.
PLAIN_TAGS = frozenset({"block", "for", "fragment", "fragments", "if", "uncached", "with"})
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


FUNCTIONS = {
    "hashed_static": hashed_static,
    "cache_id": cache_id,
    "static_integrity": static_integrity,
}


class CacheLayersExtension(Extension):
    """Adds what are tags in Django's templates: as tags, and those of static files as functions."""

    tags = {"fragment", "fragments", "uncached", *FUNCTIONS}

    def __init__(self, environment: Environment) -> None:
        """Make them known to every template, imported ones too."""
        super().__init__(environment)
        environment.globals.update(FUNCTIONS)
        note_all(environment)
        self._compiled = threading.local()
        self._tags: dict[tuple[Any, ...], Tag] = {}

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Remember the source that is about to be compiled."""
        self._compiled.digest = digest_of(source)
        return source

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """Compile a block of the extension."""
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
                nodes.Const(tuple(told_by(parts.given[1:]))),
                nodes.List(parts.given),
                nodes.Dict(parts.options),
                dictionary_of(asked),
                dictionary_of({n: nodes.Name(hole.name, "load") for n, hole in own_holes.items()}),
                nodes.Name(block, "load"),
                *([nodes.Const(parts.names), nodes.Name(ITEMS, "load")] if is_list else []),
            ],
        )
        arguments = [nodes.Name(name, "param") for name in parts.names]
        compiled: list[nodes.Node] = [
            # In front of the outermost one: there a hole is rendered, whether the rest is or not.
            *(holes.values() if is_outermost else ()),
            *renamed,
            nodes.Macro(block, arguments, [], body, lineno=line),
            # Not a CallBlock: in a template that extends another, that would be written in front.
            nodes.Output([nodes.MarkSafe(shown)], lineno=line),
        ]
        if parts.items is None:
            return compiled
        # A list of its own: what is looped over may be read only once.
        read = nodes.Filter(parts.items, "list", [], [], None, None)
        return [
            nodes.Assign(nodes.Name(ITEMS, "store"), read, lineno=line),
            nodes.If(nodes.Name(ITEMS, "load"), compiled, [], otherwise, lineno=line),
        ]

    def _tag(
        self,
        place: tuple[str | None, int, int, str],
        named: Sequence[str],
        told: Sequence[str],
    ) -> Tag:
        tag = self._tags.get(place)
        if tag is None:
            if len(self._tags) >= MOST_TAGS:
                self._tags.clear()
            tag = self._tags[place] = Tag(*place, named, frozenset(told))
        return tag

    def _show_fragment(
        self,
        context: Context,
        place: tuple[str | None, int, int, str],
        named: Sequence[str],
        told: Sequence[str],
        *parts: Any,
    ) -> str:
        return show_fragment(self._tag(place, named, told), context, *parts)

    def _show_fragments(
        self,
        context: Context,
        place: tuple[str | None, int, int, str],
        named: Sequence[str],
        told: Sequence[str],
        *parts: Any,
    ) -> str:
        return show_fragments(self._tag(place, named, told), context, *parts)

    # {% uncached %} ... {% enduncached %}

    def _parse_hole(self, parser: Parser, line: int) -> nodes.Node | list[nodes.Node]:
        compiling = compiling_of(parser)
        # Within a tag that may change it, {% filter %} say, it is not there while that does.
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

    def _show_hole(self, source: str, number: int, macro: Call, *item: Any) -> str:
        return show_hole(hole_of(source, number), macro, *item)

    def _note_lone_hole(self, wrapper: str) -> str:
        return note_lone_hole(wrapper)


@dataclass
class Compiling:
    """What is known of a template while it is parsed."""

    count: int = 0
    holes: dict[int, nodes.Macro] | None = None  # within the outermost fragment, by number
    item: tuple[str, ...] = ()  # the names of an item of the outermost fragment, in a loop

    def next_number(self) -> int:
        """Return a number that nothing else of the template has."""
        self.count += 1
        return self.count - 1


def compiling_of(parser: Parser) -> Compiling:
    """Return what is known of the template that is parsed."""
    if not hasattr(parser, COMPILING):
        setattr(parser, COMPILING, Compiling())
    compiling: Compiling = getattr(parser, COMPILING)
    return compiling


def rename_of_macro(body: Sequence[nodes.Node], block: str) -> list[nodes.Node]:
    """Have a body use what the macro around it was given beside its parameters.

    The body becomes a macro itself, which would have a ``caller`` and the like of its own.
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
    """Yield the names of a block, but those in its own macros and in what it gives to a macro.

    There ``caller`` and the like are what that macro was given.
    """
    for node in body:
        if isinstance(node, nodes.Name):
            yield node
        elif isinstance(node, nodes.CallBlock):
            yield from names_outside_of_macros([node.call])
        elif not isinstance(node, nodes.Macro):
            yield from names_outside_of_macros(node.iter_child_nodes())


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


def names_in(body: Sequence[nodes.Node]) -> dict[str, nodes.Expr]:
    """Return the names that stand in a block, and what of the loop around it, with their values.

    But the extension's own, other than what stands for a macro's ``caller`` and the like: under
    their usual names these belong to a macro in the block.
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
    """Yield what a block asks of the loop around it; nothing for the loop as a whole."""
    for node in body:
        if isinstance(node, nodes.Name):
            if node.name == LOOP_NAME and node.ctx == "load":
                yield ""
        elif isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
            if node.node.name == LOOP_NAME:
                yield node.attr
        elif isinstance(node, nodes.For):
            # In its body the name stands for itself.
            yield from uses_of_loop([node.iter, *node.else_])
        else:
            yield from uses_of_loop(node.iter_child_nodes())


def constant_names(body: Sequence[nodes.Node]) -> Iterator[str]:
    """Yield the names of templates that stand in a block."""
    for node in find_all(body, REFERRING):
        template = node.template
        items = template.items if isinstance(template, (nodes.List, nodes.Tuple)) else [template]
        for item in items:
            if isinstance(item, nodes.Const) and isinstance(item.value, str):
                yield item.value


def told_by(arguments: Sequence[nodes.Expr]) -> Iterator[str]:
    """Yield the names whose values arguments are."""
    for argument in arguments:
        if isinstance(argument, nodes.Name):
            yield argument.name


def find_all(body: Sequence[nodes.Node], kinds: Any) -> list[Any]:
    """Return the nodes of some kinds in a block, at every depth."""
    found: list[Any] = []
    for node in body:
        found += [node] if isinstance(node, kinds) else []
        found += node.find_all(kinds)
    return found
