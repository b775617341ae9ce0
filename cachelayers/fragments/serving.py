"""Serve a fragment from the cache, or render it, and store it if others may see it too.

The tags of both template languages call this with a Block, which renders the nodes between the
tags.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Container, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

from django.contrib.auth.context_processors import PermWrapper
from django.contrib.messages.storage.base import BaseStorage
from django.core.exceptions import SynchronousOnlyOperation
from django.utils.functional import Promise

from cachelayers.canonical import Unstable
from cachelayers.fragments.canonical import canonical_arguments
from cachelayers.fragments.dependencies import add_dependencies
from cachelayers.fragments.keys import finish_key, make_key, tag_of_name
from cachelayers.fragments.lookups import (
    ABSENT,
    BlockReads,
    CanonicalName,
    UnstableName,
    is_known_otherwise,
    is_request,
)
from cachelayers.fragments.markup import (
    NAME,
    TOKEN_NAMES,
    Hole,
    HoleLost,
    Markup,
    Rendering,
    Templates,
    current_rendering,
    pack,
    pack_variant_marker,
    rendering_of,
    requests_in,
    unpack,
    unpack_variant_marker,
)
from cachelayers.fragments.tag_options import TagOptions
from cachelayers.fragments.variants import (
    USER,
    Surroundings,
    needs_surroundings,
    surroundings_in,
)
from cachelayers.invalidation import Capture, current_capture, current_unit, without_laziness
from cachelayers.lookup import MISS, NOT_READ, Policy, cached_user_tags, peek, recall_after_peeking
from cachelayers.request_access import is_lazy, unobserved
from cachelayers.utils.switch import is_disabled, switches
from cachelayers.utils.tracing import note_unkept

logger = logging.getLogger("cachelayers.fragments")

ROUNDS = 10  # of keys: each round adds at least one dimension
NO_DIMENSIONS: frozenset[str] = frozenset()
HOLDS_MORE = CanonicalName(
    "", is_all=False
)  # than what is noticed: a view may have hung anything on it
# After this time, a block that could not be cached is tried again: the reason may be gone.
UNCACHEABLE_SECONDS = 60.0
MOST_UNCACHEABLE = 1_000
SAFE_METHODS = frozenset({"GET", "HEAD", None})


class Block(Surroundings, Protocol):
    """The body of a tag, with the names that it is rendered with."""

    @property
    def request(self) -> Any:
        """The request that the template knows, or None."""

    @property
    def names(self) -> Mapping[str, Any]:
        """The template variables."""

    @property
    def argument_names(self) -> AbstractSet[str]:
        """The names that are arguments of the tag."""

    def named(self, name: str) -> CanonicalName:
        """Return the canonical form of a name's value. Raises UnstableName."""

    @property
    def own_holes(self) -> Container[tuple[str, int]]:
        """The holes between the tags."""

    def render(self) -> tuple[str, Mapping[str, Any]]:
        """Return the rendered text, and the names that were looked up outside the block."""

    def render_without_tag(self) -> str:
        """Render the block as if it had no tag around it."""

    def fill(self, hole: Hole) -> str:
        """Render a hole. Raises HoleLost."""

    def digests_of(self, names: Sequence[str]) -> Templates:
        """Return the digests of the templates that were looked for, except those in the key."""

    def are_unchanged(self, templates: Templates) -> bool:
        """Tell whether the templates still have these digests."""


@dataclass(slots=True)
class Memory:
    """What this process has learned about one tag, so that it finds the right key sooner."""

    dimensions: frozenset[str] = NO_DIMENSIONS
    has_rendered: bool = False  # so the dimensions of most variants are known
    warned: set[str] = field(default_factory=set)
    _uncacheable: dict[str, float] = field(default_factory=dict)

    def learn(self, dimensions: frozenset[str]) -> None:
        """Use these dimensions in the first key from now on."""
        self.dimensions |= dimensions

    def note_uncacheable(self, key: str) -> None:
        """Remember for a while that the fragment with this key must not be cached."""
        if len(self._uncacheable) >= MOST_UNCACHEABLE:
            self._uncacheable.clear()
        self._uncacheable[key] = time.monotonic() + UNCACHEABLE_SECONDS

    def is_uncacheable(self, key: str) -> bool:
        return bool(self._uncacheable) and self._uncacheable.get(key, 0.0) > time.monotonic()


class FirstLook(NamedTuple):
    """The result of the first lookup if it is not a plain text."""

    dimensions: frozenset[str]
    key: str
    packed: Any
    stored: Any


def look_first(
    tag_options: TagOptions,
    arguments: Sequence[object],
    texts: tuple[str, ...],
    memory: Memory,
    block: Block,
) -> str | FirstLook | None:
    """Look for the usual fragment: a plain text. It needs no Fragment.

    Returns None if there was nothing to look up.
    """
    dimensions = memory.dimensions
    try:
        key = make_key(tag_options.name, arguments, *key_parts(texts, dimensions, block))
        if memory.is_uncacheable(key):
            return None
        packed, stored = peek(
            tag_options.alias, key, is_shown_only=True, freshness=tag_options.freshness
        )
    except (Unstable, SynchronousOnlyOperation):
        return None
    # Within another fragment that is being rendered, more than the text is needed.
    if type(packed) is str and current_rendering() is None:
        return packed
    return FirstLook(dimensions, key, packed, stored)


@dataclass(slots=True)
class Fragment:
    """One use of a tag."""

    where: str  # template and line, for messages
    tag_options: TagOptions
    arguments: Sequence[object]
    texts: tuple[str, ...]  # what else is in the key, such as the template's digest
    block: Block
    memory: Memory
    first_look: FirstLook | None = None
    form: str | None = None  # of the arguments as they were before the block ran

    def key(self, dimensions: frozenset[str]) -> str:
        """Return the key of this request's variant. Raises Unstable."""
        if self.form is None:
            self.form = canonical_arguments(self.arguments)
        return finish_key(
            self.tag_options.name, self.form, *key_parts(self.texts, dimensions, self.block)
        )

    def policy(self, key: str) -> Policy:
        tag_options = self.tag_options
        return Policy(
            tag_options.alias,
            key,
            tag_options.timeout,
            tag_options.stale,
            (*cached_user_tags((tag_of_name(tag_options.name),)), *tag_options.tags),
            collects=True,
            accepts=self.accepts,
            is_marker=is_variant_marker,
            freshness=tag_options.freshness,
        )

    def accepts(self, packed: Any) -> bool:
        """Tell whether the value was made from the current templates."""
        if isinstance(packed, str):
            return True
        markup = unpack(packed, NO_DIMENSIONS)
        if markup is None:
            return unpack_variant_marker(packed) is not None
        return self.block.are_unchanged(markup.templates)

    def trace_reasons(self) -> None:
        """Trace why the fragment is not stored, as known from earlier renderings."""
        for reason in sorted(self.memory.warned):
            note_unkept(reason, self.tag_options.name)

    def warn_once(self, reason: str) -> None:
        """Log, once per process, why the fragment is rendered for each request."""
        note_unkept(reason, self.tag_options.name)
        if reason not in self.memory.warned:
            self.memory.warned.add(reason)
            name = self.tag_options.name
            logger.warning("%s: the fragment %r is not cached: %s.", self.where, name, reason)


def is_variant_marker(packed: Any) -> bool:
    return unpack_variant_marker(packed) is not None


def key_parts(
    texts: tuple[str, ...], dimensions: frozenset[str], surroundings: Surroundings
) -> tuple[tuple[str, ...], str]:
    """Return the parts of the key that are not arguments, with the values of the dimensions."""
    if not dimensions:
        return texts, ""
    found = surroundings_in(dimensions, surroundings)
    return (texts, f"\0{found}") if needs_surroundings(dimensions) else ((*texts, found), "")


@dataclass(slots=True)
class RenderedFragment:
    """A fragment that was rendered, with its dependencies."""

    markup: Markup
    capture: Capture | None
    is_refused: bool  # it must not be stored

    def hand_over(self) -> Any:
        """Return the value to store, and move its dependencies into the current capture."""
        capture = current_capture()
        if capture is not None and self.capture is not None:
            capture.add_nested(self.capture)
        return pack(self.markup)


def serve(fragment: Fragment) -> str:
    """Return the fragment's text. Exceptions raised while rendering it are not caught."""
    if switches and is_disabled():
        return fragment.block.render_without_tag()
    rendered: list[RenderedFragment] = []
    try:
        packed, dimensions = follow_variant_markers(fragment, rendered)
    except (Unstable, SynchronousOnlyOperation) as error:
        fragment.warn_once(explain(error))
        packed, dimensions = pack_rendered(rendered), NO_DIMENSIONS
    return show(fragment, packed, dimensions)


def pack_rendered(rendered: Sequence[RenderedFragment]) -> Any:
    """Return the value of what was rendered but cannot be cached; None if nothing was."""
    return pack(rendered[0].markup) if rendered else None


def show(fragment: Fragment, packed: Any, dimensions: frozenset[str]) -> str:
    """Return the text of a value. ``None``: the fragment must not be cached."""
    around = current_rendering()
    if around is None and type(packed) is str:
        return packed
    block, markup = fragment.block, unpack(packed, dimensions)
    if markup is None:
        return block.render_without_tag()
    if around is not None:
        return around.adopt(markup)
    try:
        return markup.fill(block.fill)
    except HoleLost:
        fragment.warn_once("the template of a hole in it is not found by its name")
        return block.render_without_tag()


def explain(error: Unstable | SynchronousOnlyOperation) -> str:
    """Return why a fragment cannot have a key."""
    if isinstance(error, UnstableName):
        return str(error)
    if isinstance(error, Unstable):
        return f"an argument has no key: {error}"
    return "it is rendered in an event loop; render in a thread (sync_to_async)"


def follow_variant_markers(
    fragment: Fragment, rendered: list[RenderedFragment]
) -> tuple[Any, frozenset[str]]:
    """Return the value for this request, and the dimensions in its key.

    Each variant marker adds dimensions to the next key. The value is None if the fragment is known
    not to be cacheable. A fragment that had to be rendered is appended to ``rendered``.
    """
    memory, tag_options = fragment.memory, fragment.tag_options
    alias, freshness = tag_options.alias, tag_options.freshness
    dimensions = memory.dimensions
    for _ in range(ROUNDS):
        first = fragment.first_look
        if first is not None and first.dimensions == dimensions:
            _, key, packed, stored = first
        else:
            key = fragment.key(dimensions)
            if memory.is_uncacheable(key):
                fragment.trace_reasons()
                break
            packed, stored = peek(alias, key, is_shown_only=True, freshness=freshness)
        if type(packed) is str:
            return packed, dimensions
        if packed is MISS or not fragment.accepts(packed):
            compute = partial(render_packed, fragment, key, dimensions, rendered)
            packed = recall_after_peeking(fragment.policy(key), compute, stored)
        missing = unpack_variant_marker(packed)
        if missing is None:
            return packed, dimensions
        dimensions |= missing
        memory.learn(dimensions)
    return None, dimensions


def render_packed(
    fragment: Fragment, key: str, dimensions: frozenset[str], rendered: list[RenderedFragment]
) -> Any:
    """Render the fragment, unless that was done, and return the value for a key, or None."""
    if not rendered:
        try:
            rendered.append(render_fragment(fragment))
            fragment.memory.has_rendered = True
        except HoleLost:
            fragment.memory.note_uncacheable(key)
            refuse(fragment, "something around {% uncached %} changes the text in it")
            return None
    [rendered_fragment] = rendered
    if rendered_fragment.markup.dimensions <= dimensions:
        if rendered_fragment.is_refused:
            fragment.memory.note_uncacheable(key)
        return rendered_fragment.hand_over()
    if not rendered_fragment.is_refused:
        store_before_variant_marker(
            fragment, dimensions | rendered_fragment.markup.dimensions, rendered_fragment
        )
    return pack_variant_marker(rendered_fragment.markup.dimensions)


def store_before_variant_marker(
    fragment: Fragment, dimensions: frozenset[str], rendered_fragment: RenderedFragment
) -> None:
    """Store the value before its variant marker: otherwise others would render it as well."""
    with suppress(Unstable):  # for example, the user has no key
        key = fragment.key(dimensions)
        recall_after_peeking(fragment.policy(key), rendered_fragment.hand_over, NOT_READ)


def render_fragment(fragment: Fragment) -> RenderedFragment:
    """Render a fragment, and find out its dependencies and who may see it."""
    block, capture, unit = fragment.block, current_capture(), current_unit()
    rendering = Rendering(own_holes=block.own_holes, around=current_rendering())
    request = None if unit is None else unit.request
    requests = requests_in(block.names, block.request, request)
    reads = BlockReads(block, requests)
    block.remembered = reads.remembered
    with rendering_of(rendering), reads.tracking():
        text, looked_up = block.render()
    if (around := current_rendering()) is not None:
        for name, value, context in rendering.asked:
            around.note(name, value, context)
    reads.look_for_secrets(text)
    rendering.dimensions |= reads.dimensions | dimensions_of_names(block, looked_up)
    if USER in rendering.dimensions:
        reads.remember_users()
    rendering.templates = dict(block.digests_of(list(rendering.templates)))
    secrets = dict.fromkeys([*reads.secrets, *secrets_of_names(looked_up, requests)])
    reasons = [*dict.fromkeys(rendering.obstacles)]
    if secrets:
        reasons.append(f"it uses {' and '.join(secrets)}, which is for one response only")
    canonical, unstable = canonical_names(block, names_for_key(fragment, looked_up))
    rendering.dimensions |= {f"{NAME}{name}" for name in canonical}
    if not reasons:
        # Later requests know this in advance. Other reasons may be temporary.
        rendering.dimensions |= {f"{NAME}{name}" for name in unstable}
        reasons += unstable.values()
    markup = rendering.finish(text)
    named = [*canonical.values()]
    if any(is_request(value) for value in looked_up.values()):
        named.append(HOLDS_MORE)
    if capture is not None and not add_dependencies(
        capture,
        named,
        [*fragment.arguments, *reads.objects],
        markup.dimensions,
        reads.users,
    ):
        reasons.append("it is rendered outside of a unit of work, so its dependencies are unknown")
    for reason in reasons:
        refuse(fragment, reason)
    with unobserved():
        is_answering_form = any(
            getattr(one, "method", None) not in SAFE_METHODS for one in requests
        )
    if capture is not None and is_answering_form:
        # A form writes the submitted values into its instance before it validates them.
        capture.is_unstorable = True
    return RenderedFragment(markup, capture, bool(reasons))


def names_for_key(fragment: Fragment, looked_up: Mapping[str, Any]) -> list[str]:
    """Return the names that a block has looked up, without those that are arguments."""
    argument_names, arguments = fragment.block.argument_names, fragment.arguments
    return [
        name
        for name, value in looked_up.items()
        if not is_known_otherwise(name, value)
        and not (name in argument_names and any(value is argument for argument in arguments))
    ]


def canonical_names(
    block: Block, names: Sequence[str]
) -> tuple[dict[str, CanonicalName], dict[str, str]]:
    """Return the canonical forms of names, and for the other names the reason."""
    canonical, unstable = {}, {}
    for name in names:
        try:
            canonical[name] = block.named(name)
        except UnstableName as error:
            unstable[name] = str(error)
    return canonical, unstable


def refuse(fragment: Fragment, reason: str) -> None:
    """Prevent that the current rendering is stored, and log the reason."""
    if (capture := current_capture()) is not None:
        capture.is_unstorable = True
    fragment.warn_once(reason)


def dimensions_of_names(block: Block, looked_up: Mapping[str, Any]) -> set[str]:
    """Return the dimensions that follow from names whose use cannot be observed later."""
    found = set()
    users = [user for user in block.users() if user is not None]
    for name, value in looked_up.items():
        shown = value.user if issubclass(type(value), PermWrapper) else value
        is_user = name == "user" or any(shown is user for user in users)
        if (
            is_user
            and shown is not ABSENT
            and not is_lazy(shown)
            and name not in block.argument_names
        ):
            found.add(USER)
    return found


def secrets_of_names(looked_up: Mapping[str, Any], requests: Sequence[Any]) -> list[str]:
    """Return the secrets that a block has used by looking up their names."""
    values = [without_laziness(value) for value in looked_up.values()]
    found = ["messages"] if any(isinstance(value, BaseStorage) for value in values) else []
    # Django gives the token to Jinja2 as a lazy text. If the request is known, its use is recorded
    # there.
    tokens = [type(looked_up.get(name)) for name in TOKEN_NAMES]
    if not requests and any(issubclass(one, Promise) for one in tokens):
        found.append("the CSRF token")
    return found
