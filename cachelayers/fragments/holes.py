"""The node of ``{% uncached %}``, and how it is found again by a process that shows a hit."""

from __future__ import annotations

from weakref import WeakValueDictionary

from django.template import Context, Engine, Node, NodeList, TemplateDoesNotExist
from django.template.base import Parser

from cachelayers.fragments.keys import digest_of
from cachelayers.fragments.markup import NAMELESS, Hole, HoleLost, current_rendering
from cachelayers.fragments.sources import origin_of, source_around

COUNT = "_cachelayers_holes"  # of a parser
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
    number = getattr(parser, COUNT, 0)
    setattr(parser, COUNT, number + 1)
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
