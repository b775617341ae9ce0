"""What a fragment was rendered to: text with holes, and what may be shown in one response only."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, NamedTuple

from cachelayers.invalidation.dependencies import without_laziness
from cachelayers.lookup import has_token_of
from cachelayers.request_access import is_request, own_attributes, real, unobserved

# Unguessable: what users have written is not to be taken for a hole. And with all that a filter or
# tag around it would change, so that one which does is noticed: upper and lower case, characters
# that are escaped, spaces, a line's end, a tag with a space behind it.
FRAGILE_MARK = "<hole&'\"> <A {}\n\n\\\u00e4>"
PARTS = "cachelayers:parts"
VARIANT_MARKER = "cachelayers:signpost"


NAME = "name:"  # a dimension begins so that is the value of a name
NAMELESS = "#"  # what stands for the name of a template that was made from a string begins so


class Hole(NamedTuple):
    """Where the template of a hole is found: its name, and which of that template's holes it is."""

    template: str
    number: int
    # How values are written where it stands: escaped, localized, in the active time zone.
    manner: Sequence[bool | None] = (True, None, None)

    @property
    def name(self) -> tuple[str, int]:
        """Return what its node is found by."""
        return self.template, self.number


Piece = str | Hole
Templates = Mapping[str, str | None]  # digests by name; None: there was no such template


class HoleLost(Exception):
    """A hole's mark was changed by what is around it, or its template is not found."""


class Markup(NamedTuple):
    """A fragment, ready to be shown."""

    pieces: Sequence[Piece]
    # The templates that were looked for while it was rendered, under names not known before.
    templates: Templates = {}
    # What of the request it was made for: names of dimensions.
    dimensions: frozenset[str] = frozenset()

    def fill(self, render_hole: Callable[[Hole], str]) -> str:
        """Return the text, with each hole rendered."""
        return "".join(
            [piece if isinstance(piece, str) else render_hole(piece) for piece in self.pieces]
        )


@dataclass(slots=True)
class Rendering:
    """A fragment while it is rendered. Those within it tell it what they are made of."""

    # What templates have asked for by name, with the contexts that they have asked. In Jinja2.
    asked: list[tuple[str, Any, Any]] = field(default_factory=list)
    # Spells what stands under a name, before the block does something with it.
    note_name: Callable[[str], None] | None = None

    holes: list[Hole] = field(default_factory=list)
    templates: dict[str, str | None] = field(default_factory=dict)
    dimensions: set[str] = field(default_factory=set)
    # Those between its own tags. Others are found by the name of their template.
    own_holes: Container[tuple[str, int]] = ()
    # Why it cannot be kept, besides what is noticed of the request.
    obstacles: list[str] = field(default_factory=list)
    around: Rendering | None = None  # of the fragment around it
    mark: str = field(default_factory=lambda: FRAGILE_MARK.format(token_hex()))

    def note(self, name: str, value: Any, context: Any) -> None:
        """Note that a name was asked for."""
        self.asked.append((name, value, context))
        if self.note_name is not None:
            self.note_name(name)

    def leave_hole(self, hole: Hole) -> str:
        """Return what stands in the text for a hole."""
        if hole.template.startswith(NAMELESS) and hole.name not in self.own_holes:
            self.obstacles.append("it includes a hole in a template that has no name")
        self.holes.append(hole)
        return f"{self.mark}{len(self.holes) - 1};"

    def adopt(self, markup: Markup) -> str:
        """Take over a fragment within this one, and return the text that stands for it."""
        self.templates.update(markup.templates)
        # Names were looked up through what notes them. Those within mean others here.
        self.dimensions |= {one for one in markup.dimensions if not one.startswith(NAME)}
        return markup.fill(self.leave_hole)

    def finish(self, text: str) -> Markup:
        """Return what was rendered; raise HoleLost where a hole is not in it any more."""
        first, *others = text.split(self.mark)
        pieces: list[Piece] = [first]
        found = set()
        for other in others:
            number, end, text_after = other.partition(";")
            if not (end and number.isdecimal() and int(number) < len(self.holes)):
                raise HoleLost
            pieces += [self.holes[int(number)], text_after]
            found.add(number)
        if len(found) < len(self.holes):
            raise HoleLost
        return Markup(pieces, self.templates, frozenset(self.dimensions))


_rendering: ContextVar[Rendering | None] = ContextVar("cachelayers_rendering", default=None)
current_rendering = _rendering.get


@contextmanager
def rendering_of(rendering: Rendering | None) -> Iterator[None]:
    """Render a block as a fragment; None: as what belongs to none, such as a hole."""
    token = _rendering.set(rendering)
    try:
        yield
    finally:
        _rendering.reset(token)


# What is kept is made of strings, numbers, lists and dictionaries: every cache can hold it.


def pack(markup: Markup) -> Any:
    """Return what is kept: the text alone, where that is all there is."""
    if len(markup.pieces) == 1 and not markup.templates and isinstance(markup.pieces[0], str):
        # Not as the safe text that Django renders: a hit is quickest with a plain one.
        return str.__str__(markup.pieces[0])
    pieces = [piece if isinstance(piece, str) else list(piece) for piece in markup.pieces]
    return [PARTS, pieces, dict(markup.templates)]


def pack_variant_marker(dimensions: frozenset[str]) -> Any:
    """Return what is kept under a key that does not say enough: what the right one has to say."""
    return [VARIANT_MARKER, sorted(dimensions)]


def unpack(kept: Any, dimensions: frozenset[str]) -> Markup | None:
    """Return the fragment that was kept under a key with dimensions, or None for what is none."""
    if isinstance(kept, str):
        return Markup((kept,), dimensions=dimensions)
    match kept:
        case [str(kind), [*pieces], dict(templates)] if kind == PARTS:
            return Markup(
                [piece if isinstance(piece, str) else Hole(*piece) for piece in pieces],
                templates,
                dimensions,
            )
    return None


def unpack_variant_marker(kept: Any) -> frozenset[str] | None:
    """Return the dimensions that a signpost names, or None for what is none."""
    match kept:
        case [str(kind), [*dimensions]] if kind == VARIANT_MARKER:
            return frozenset(dimensions)
    return None


SHORTEST_SECRET = 8  # characters; what is shorter may be in a text by chance
TOKEN_NAMES = frozenset({"csrf_token", "csrf_input"})
HOLDS_VALUES = (dict, list, tuple, set, frozenset, str)  # beside its attributes


def requests_in(names: Mapping[str, Any], request: Any, of_unit: Any) -> list[Any]:
    """Return the requests that a block may get at: the page's, those of views, those wrapped.

    ``of_unit``: the one that the unit of work answers, which any code may have kept.
    """
    found: dict[int, Any] = {}
    for value in [of_unit, request, *names.values()]:
        for one in (value, attribute(value, "request")):
            inner = attribute(one, "_request")
            for candidate in (one, inner):
                if is_request(candidate):
                    found[id(candidate)] = candidate
            if is_wrapper(one):  # as those of API frameworks are
                found[id(one)] = one
    return list(found.values())


def is_wrapper(value: Any) -> bool:
    """Tell what passes on to a request whatever it has not itself, from what just holds one."""
    cls = type(value)
    return (
        is_request(attribute(value, "_request"))
        and hasattr(cls, "__getattr__")
        and not issubclass(cls, HOLDS_VALUES)
    )


def is_name_of_secret(name: str) -> bool:
    """Tell a name that a token or a nonce has."""
    return "nonce" in name.lower() or name in TOKEN_NAMES


def attribute(value: Any, name: str) -> Any:
    """Return what an object itself holds under a name; properties are not asked."""
    return own_attributes(value).get(name)


def secret_candidates(names: Mapping[str, Any], requests: list[Any]) -> Iterator[tuple[str, Any]]:
    """Yield what may be a token or a nonce, from the template's names and requests' attributes.

    Django's own, django-csp's and others' are found by their names.
    """
    for mapping in (names, *map(own_attributes, requests)):
        for name in list(mapping):
            if isinstance(name, str) and is_name_of_secret(name):
                yield name.lower(), mapping[name]


def text_of(value: Any) -> str | None:
    """Return the text of a secret that was made already; a lazy one is not made by looking."""
    found = without_laziness(value)
    return found if isinstance(found, str) and len(found) >= SHORTEST_SECRET else None


def session_key_of(request: Any) -> str | None:
    """Return the key of a request's session, if there is one."""
    session = real(own_attributes(request).get("session"))
    return text_of(getattr(session, "session_key", None))


def has_token(text: str, request: Any) -> bool:
    """Tell whether a text holds a token of a request."""
    with unobserved():
        secret = getattr(request, "META", {}).get("CSRF_COOKIE")
    return has_token_of(text, secret)
