"""The format of a rendered fragment: text with holes, and the secrets that must not be in it.

`serving` packs a Markup before it is stored, and fills the holes on each hit.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, NamedTuple

from cachelayers.invalidation import without_laziness
from cachelayers.lookup import has_token_of
from cachelayers.request_access import is_request, own_attributes, real, unobserved

# The mark is random, so that no user can write it into a text. It also contains what filters and
# tags around it would change, so that a change is noticed: both cases, escaped characters, spaces,
# a line end, a tag followed by a space.
FRAGILE_MARK = "<hole&'\"> <A {}\n\n\\\u00e4>"
PARTS = "cachelayers:parts"
VARIANT_MARKER = "cachelayers:signpost"


NAME = "name:"  # prefix of a dimension that is the value of a name
NAMELESS = "#"  # prefix of the id of a template made from a string


class Hole(NamedTuple):
    """The location of a hole: the name of its template, and its index there."""

    template: str
    number: int
    # autoescape, localization and time zone settings at the hole
    output_settings: Sequence[bool | None] = (True, None, None)

    @property
    def name(self) -> tuple[str, int]:
        """The key under which its node is registered."""
        return self.template, self.number


Piece = str | Hole
Templates = Mapping[str, str | None]  # digests by name; None: there was no such template


class HoleLost(Exception):
    """The mark of a hole was changed by something around it, or its template is missing."""


class Markup(NamedTuple):
    """A rendered fragment."""

    pieces: Sequence[Piece]
    # The templates looked for during the rendering that the key does not cover.
    templates: Templates = {}
    # The names of the dimensions that it depends on.
    dimensions: frozenset[str] = frozenset()

    def fill(self, render_hole: Callable[[Hole], str]) -> str:
        return "".join(
            [piece if isinstance(piece, str) else render_hole(piece) for piece in self.pieces]
        )


@dataclass(slots=True)
class Rendering:
    """A fragment while it is rendered. The code within it records its dependencies here."""

    # Jinja2 only: names looked up by templates, with the contexts.
    asked: list[tuple[str, Any, Any]] = field(default_factory=list)
    # Makes the canonical form of a name before the block can change its value.
    note_name: Callable[[str], None] | None = None

    holes: list[Hole] = field(default_factory=list)
    templates: dict[str, str | None] = field(default_factory=dict)
    dimensions: set[str] = field(default_factory=set)
    # The holes between its own tags. Others are found through their templates.
    own_holes: Container[tuple[str, int]] = ()
    # Why it must not be cached, apart from the use of the request.
    obstacles: list[str] = field(default_factory=list)
    around: Rendering | None = None  # the outer fragment
    mark: str = field(default_factory=lambda: FRAGILE_MARK.format(token_hex()))

    def note(self, name: str, value: Any, context: Any) -> None:
        self.asked.append((name, value, context))
        if self.note_name is not None:
            self.note_name(name)

    def leave_hole(self, hole: Hole) -> str:
        """Return the mark for a hole."""
        if hole.template.startswith(NAMELESS) and hole.name not in self.own_holes:
            self.obstacles.append("it includes a hole in a template that has no name")
        self.holes.append(hole)
        return f"{self.mark}{len(self.holes) - 1};"

    def adopt(self, markup: Markup) -> str:
        """Take over an inner fragment, and return its text with marks."""
        self.templates.update(markup.templates)
        # Not the names: they were recorded by this fragment's wrappers, and mean other variables
        # there.
        self.dimensions |= {one for one in markup.dimensions if not one.startswith(NAME)}
        return markup.fill(self.leave_hole)

    def finish(self, text: str) -> Markup:
        """Return the rendered fragment. Raises HoleLost if the mark of a hole is gone."""
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
    """Render a block as a fragment; with None outside of any, like a hole."""
    token = _rendering.set(rendering)
    try:
        yield
    finally:
        _rendering.reset(token)


# Stored values consist of strings, numbers, lists and dictionaries, which every cache can hold.


def pack(markup: Markup) -> Any:
    """Return the value to store: only the text, if there is nothing else."""
    if len(markup.pieces) == 1 and not markup.templates and isinstance(markup.pieces[0], str):
        # A plain string, not Django's SafeString: a hit is faster.
        return str.__str__(markup.pieces[0])
    pieces = [piece if isinstance(piece, str) else list(piece) for piece in markup.pieces]
    return [PARTS, pieces, dict(markup.templates)]


def pack_variant_marker(dimensions: frozenset[str]) -> Any:
    """Return the value for a key with too few dimensions: the missing ones."""
    return [VARIANT_MARKER, sorted(dimensions)]


def unpack(packed: Any, dimensions: frozenset[str]) -> Markup | None:
    """Return the fragment stored under a key with these dimensions, or None."""
    if isinstance(packed, str):
        return Markup((packed,), dimensions=dimensions)
    match packed:
        case [str(kind), [*pieces], dict(templates)] if kind == PARTS:
            return Markup(
                [piece if isinstance(piece, str) else Hole(*piece) for piece in pieces],
                templates,
                dimensions,
            )
    return None


def unpack_variant_marker(packed: Any) -> frozenset[str] | None:
    """Return the dimensions in a variant marker, or None for another value."""
    match packed:
        case [str(kind), [*dimensions]] if kind == VARIANT_MARKER:
            return frozenset(dimensions)
    return None


SHORTEST_SECRET = 8  # characters; a shorter one may be in a text by chance
TOKEN_NAMES = frozenset({"csrf_token", "csrf_input"})
HOLDS_VALUES = (dict, list, tuple, set, frozenset, str)  # in addition to attributes


def requests_in(names: Mapping[str, Any], request: Any, of_unit: Any) -> list[Any]:
    """Return all requests that a block can reach, with those of views and wrapped ones.

    ``of_unit``: the request of the unit of work, to which any code may refer.
    """
    found: dict[int, Any] = {}
    for value in [of_unit, request, *names.values()]:
        for one in (value, attribute(value, "request")):
            inner = attribute(one, "_request")
            for candidate in (one, inner):
                if is_request(candidate):
                    found[id(candidate)] = candidate
            if is_wrapper(one):  # like those of API frameworks
                found[id(one)] = one
    return list(found.values())


def is_wrapper(value: Any) -> bool:
    """Tell whether an object passes unknown attributes on to a request."""
    cls = type(value)
    return (
        is_request(attribute(value, "_request"))
        and hasattr(cls, "__getattr__")
        and not issubclass(cls, HOLDS_VALUES)
    )


def is_name_of_secret(name: str) -> bool:
    """Tell whether a token or a nonce may have this name."""
    return "nonce" in name.lower() or name in TOKEN_NAMES


def attribute(value: Any, name: str) -> Any:
    """Return an attribute from the object's own dictionary, without calling properties."""
    return own_attributes(value).get(name)


def secret_candidates(names: Mapping[str, Any], requests: list[Any]) -> Iterator[tuple[str, Any]]:
    """Yield possible tokens and nonces among the template's names and the requests' attributes.

    Those of Django, django-csp and others are recognized by their names.
    """
    for mapping in (names, *map(own_attributes, requests)):
        for name in list(mapping):
            if isinstance(name, str) and is_name_of_secret(name):
                yield name.lower(), mapping[name]


def text_of(value: Any) -> str | None:
    """Return the text of a secret that already exists, without evaluating a lazy one."""
    found = without_laziness(value)
    return found if isinstance(found, str) and len(found) >= SHORTEST_SECRET else None


def session_key_of(request: Any) -> str | None:
    """Return the key of a request's session, if it has one."""
    session = real(own_attributes(request).get("session"))
    return text_of(getattr(session, "session_key", None))


def has_token(text: str, request: Any) -> bool:
    """Tell whether a text contains a token of a request."""
    with unobserved():
        secret = getattr(request, "META", {}).get("CSRF_COOKIE")
    return has_token_of(text, secret)
