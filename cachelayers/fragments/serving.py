"""Serve a fragment: from the cache, or by rendering it and keeping it if others may see it too.

Engine-neutral: a Block is what one tag, in Django's templates or in Jinja2's, has to render.
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
from cachelayers.fragments.keys import finish_key, make_key, word_of
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
    ANYWHERE,
    USER,
    Surroundings,
    needs_surroundings,
    surroundings_in,
)
from cachelayers.invalidation.dependencies import Capture, current_capture, without_laziness
from cachelayers.invalidation.units import current_unit
from cachelayers.lookup import MISS, NOT_READ, Policy, cached_user_tags, peek, recall_after_peeking
from cachelayers.request_access import is_lazy, unobserved

logger = logging.getLogger("cachelayers.fragments")

ROUNDS = 10  # of keys: each names at least one dimension more than the one before
NO_DIMENSIONS: frozenset[str] = frozenset()
HOLDS_MORE = CanonicalName(
    "", is_all=False
)  # than what is noticed: a view may have hung anything on it
# A block that may not be kept is asked for again after a while: it need not be so for ever.
SECRET_SECONDS = 60.0
MOST_SECRETS = 1_000
SAFE_METHODS = frozenset({"GET", "HEAD", None})


class Block(Surroundings, Protocol):
    """What stands between the tags, with the names that it is rendered with."""

    @property
    def request(self) -> Any:
        """The request that it is rendered for, if the template knows it."""

    @property
    def names(self) -> Mapping[str, Any]:
        """What the template knows."""

    @property
    def told(self) -> AbstractSet[str]:
        """The names that are arguments."""

    def named(self, name: str) -> CanonicalName:
        """Return the spelling of what stands under a name; UnstableName where that has none."""

    @property
    def own_holes(self) -> Container[tuple[str, int]]:
        """The holes between its tags."""

    def render(self) -> tuple[str, Mapping[str, Any]]:
        """Render it; return the text, and what it has asked for of the names around it."""

    def render_unwatched(self) -> str:
        """Render it as if there were no tag around it."""

    def fill(self, hole: Hole) -> str:
        """Render a hole; HoleLost where it is not found."""

    def digests_of(self, names: Sequence[str]) -> Templates:
        """Return the digests of templates that were looked for, without those known before."""

    def are_unchanged(self, templates: Templates) -> bool:
        """Tell whether the digests are still the same."""


@dataclass(slots=True)
class Memory:
    """What this process has learned of one tag: a shorter way to the right key."""

    dimensions: frozenset[str] = NO_DIMENSIONS
    has_rendered: bool = False  # so that the dimensions of most variants are known
    warned: set[str] = field(default_factory=set)
    _secrets: dict[str, float] = field(default_factory=dict)

    def learn(self, dimensions: frozenset[str]) -> None:
        """Ask for a key with these dimensions at once next time."""
        self.dimensions |= dimensions

    def note_secret(self, key: str) -> None:
        """Remember for a while that what is under a key is not kept."""
        if len(self._secrets) >= MOST_SECRETS:
            self._secrets.clear()
        self._secrets[key] = time.monotonic() + SECRET_SECONDS

    def is_secret(self, key: str) -> bool:
        """Tell whether it was found not long ago that what is under a key is not kept."""
        return bool(self._secrets) and self._secrets.get(key, 0.0) > time.monotonic()


class FirstLook(NamedTuple):
    """What was found under a key that does not name the user, where it is no plain text."""

    key: str
    kept: Any
    stored: Any


def look_first(
    given: TagOptions, arguments: Sequence[object], texts: tuple[str, ...], memory: Memory
) -> str | FirstLook | None:
    """Look for what most fragments are: a plain text, the same for all who read one language.

    It takes nothing of what a Fragment needs beyond. None where nothing was looked for.
    """
    dimensions = memory.dimensions
    if needs_surroundings(dimensions):
        return None
    try:
        texts, _ = parts_in(texts, dimensions, ANYWHERE)
        key = make_key(given.name, arguments, texts)
        if memory.is_secret(key):
            return None
        kept, stored = peek(given.alias, key, is_shown_only=True)
    except (Unstable, SynchronousOnlyOperation):
        return None
    # Within a block that is rendered it is a part of that, and more than a text.
    if type(kept) is str and current_rendering() is None:
        return kept
    return FirstLook(key, kept, stored)


@dataclass(slots=True)
class Fragment:
    """One use of a tag, with what it was given."""

    where: str  # template and line, for people
    given: TagOptions
    arguments: Sequence[object]
    texts: tuple[str, ...]  # what else belongs into the key, such as the template's digest
    block: Block
    memory: Memory
    first_look: FirstLook | None = None
    form: str | None = None  # of the arguments; what the block does to them is not in the key

    def key(self, dimensions: frozenset[str]) -> str:
        """Return the key of this request's variant; Unstable where it can have none."""
        if self.form is None:
            self.form = canonical_arguments(self.arguments)
        return finish_key(self.given.name, self.form, *parts_in(self.texts, dimensions, self.block))

    def policy(self, key: str) -> Policy:
        """Return how its entry is kept."""
        given = self.given
        return Policy(
            given.alias,
            key,
            given.timeout,
            given.stale,
            (*cached_user_tags((word_of(given.name),)), *given.words),
            collects=True,
            accepts=self.accepts,
        )

    def accepts(self, kept: Any) -> bool:
        """Tell whether what was found in the cache was made from the templates there are now."""
        if isinstance(kept, str):
            return True
        markup = unpack(kept, NO_DIMENSIONS)
        if markup is None:
            return unpack_variant_marker(kept) is not None
        return self.block.are_unchanged(markup.templates)

    def warn_once(self, reason: str) -> None:
        """Say, the first time in this process, why it is rendered for each request."""
        if reason not in self.memory.warned:
            self.memory.warned.add(reason)
            name = self.given.name
            logger.warning("%s: the fragment %r is not cached: %s.", self.where, name, reason)


def parts_in(
    texts: tuple[str, ...], dimensions: frozenset[str], place: Surroundings
) -> tuple[tuple[str, ...], str]:
    """Return what belongs into keys, with what the place is in the dimensions."""
    if not dimensions:
        return texts, ""
    found = surroundings_in(dimensions, place)
    return (texts, f"\0{found}") if needs_surroundings(dimensions) else ((*texts, found), "")


@dataclass(slots=True)
class RenderedFragment:
    """A fragment that was rendered, with what it was made of."""

    markup: Markup
    capture: Capture | None
    is_refused: bool  # it may not be kept

    def hand_over(self) -> Any:
        """Return what is kept, in a compute for the right key."""
        capture = current_capture()
        if capture is not None and self.capture is not None:
            capture.take_over(self.capture)
        return pack(self.markup)


def serve(fragment: Fragment) -> str:
    """Return the fragment's text. What rendering it raises is raised here."""
    made: list[RenderedFragment] = []
    try:
        kept, dimensions = follow_variant_markers(fragment, made)
    except (Unstable, SynchronousOnlyOperation) as error:
        fragment.warn_once(explain(error))
        kept, dimensions = pack_made(made), NO_DIMENSIONS
    return show(fragment, kept, dimensions)


def pack_made(made: Sequence[RenderedFragment]) -> Any:
    """Return what was rendered, where that cannot be kept; None where nothing was."""
    return pack(made[0].markup) if made else None


def show(fragment: Fragment, kept: Any, dimensions: frozenset[str]) -> str:
    """Return the text of what is kept; None: nothing may be."""
    around = current_rendering()
    if around is None and type(kept) is str:
        return kept
    block, markup = fragment.block, unpack(kept, dimensions)
    if markup is None:
        return block.render_unwatched()
    if around is not None:
        return around.adopt(markup)
    try:
        return markup.fill(block.fill)
    except HoleLost:
        fragment.warn_once("the template of a hole in it is not found by its name")
        return block.render_unwatched()


def explain(error: Unstable | SynchronousOnlyOperation) -> str:
    """Return why a fragment cannot even be looked for."""
    if isinstance(error, UnstableName):
        return str(error)
    if isinstance(error, Unstable):
        return f"an argument makes no key, since {error}"
    return "it is rendered in an event loop; render in a thread (sync_to_async)"


def follow_variant_markers(
    fragment: Fragment, made: list[RenderedFragment]
) -> tuple[Any, frozenset[str]]:
    """Return what is kept for this request, and the dimensions that its key has.

    Looks under keys that name ever more of them. None for what is known not to be kept. ``made``:
    gets what has to be rendered for it.
    """
    memory, alias = fragment.memory, fragment.given.alias
    dimensions = memory.dimensions
    for _ in range(ROUNDS):
        key = fragment.key(dimensions)
        if memory.is_secret(key):
            break
        first = fragment.first_look
        if first is not None and first.key == key:
            kept, stored = first.kept, first.stored
        else:
            kept, stored = peek(alias, key, is_shown_only=True)
        if type(kept) is str:
            return kept, dimensions
        if kept is MISS or not fragment.accepts(kept):
            compute = partial(make_kept, fragment, key, dimensions, made)
            kept = recall_after_peeking(fragment.policy(key), compute, stored)
        missing = unpack_variant_marker(kept)
        if missing is None:
            return kept, dimensions
        dimensions |= missing
        memory.learn(dimensions)
    return None, dimensions


def make_kept(
    fragment: Fragment, key: str, dimensions: frozenset[str], made: list[RenderedFragment]
) -> Any:
    """Render it, unless that was done already, and return what is kept under a key; or None."""
    if not made:
        try:
            made.append(make(fragment))
            fragment.memory.has_rendered = True
        except HoleLost:
            fragment.memory.note_secret(key)
            refuse(fragment, "what is around {% uncached %} changes what is in it")
            return None
    [rendered_fragment] = made
    if rendered_fragment.markup.dimensions <= dimensions:
        if rendered_fragment.is_refused:
            fragment.memory.note_secret(key)
        return rendered_fragment.hand_over()
    if not rendered_fragment.is_refused:
        store_before_variant_marker(
            fragment, dimensions | rendered_fragment.markup.dimensions, rendered_fragment
        )
    return pack_variant_marker(rendered_fragment.markup.dimensions)


def store_before_variant_marker(
    fragment: Fragment, dimensions: frozenset[str], rendered_fragment: RenderedFragment
) -> None:
    """Store it under the right key before others are told of that: else they render it too."""
    with suppress(Unstable):  # the user has no key, say
        key = fragment.key(dimensions)
        recall_after_peeking(fragment.policy(key), rendered_fragment.hand_over, NOT_READ)


def make(fragment: Fragment) -> RenderedFragment:
    """Render a fragment, and find out what it is made of and who may see it."""
    block, capture, unit = fragment.block, current_capture(), current_unit()
    rendering = Rendering(own_holes=block.own_holes, around=current_rendering())
    request = None if unit is None else unit.request
    requests = requests_in(block.names, block.request, request)
    watch = BlockReads(block, requests)
    block.remembered = watch.remembered
    with rendering_of(rendering), watch.watching():
        text, seen = block.render()
    if (around := current_rendering()) is not None:
        for name, value, context in rendering.asked:
            around.note(name, value, context)
    watch.look_for_secrets(text)
    rendering.dimensions |= watch.dimensions | dimensions_of_names(block, seen)
    if USER in rendering.dimensions:
        watch.remember_users()
    rendering.templates = dict(block.digests_of(list(rendering.templates)))
    secrets = dict.fromkeys([*watch.secrets, *secrets_of_names(seen, requests)])
    reasons = [*dict.fromkeys(rendering.obstacles)]
    if secrets:
        reasons.append(f"it uses {' and '.join(secrets)}, which is for one response only")
    told, untold = canonical_names(block, names_to_tell(fragment, seen))
    rendering.dimensions |= {f"{NAME}{name}" for name in told}
    if not reasons:
        # Known in advance from now on, whereas other reasons may be of this time only.
        rendering.dimensions |= {f"{NAME}{name}" for name in untold}
        reasons += untold.values()
    markup = rendering.finish(text)
    named = [*told.values()]
    if any(is_request(value) for value in seen.values()):
        named.append(HOLDS_MORE)
    if capture is not None and not add_dependencies(
        capture,
        named,
        [*fragment.arguments, *watch.objects],
        markup.dimensions,
        watch.users,
    ):
        reasons.append("it is rendered outside of any unit of work, so what it shows is unknown")
    for reason in reasons:
        refuse(fragment, reason)
    with unobserved():
        is_answering_form = any(
            getattr(one, "method", None) not in SAFE_METHODS for one in requests
        )
    if capture is not None and is_answering_form:
        # A form writes into an instance what was typed, before it looks whether all is right.
        capture.is_unstorable = True
    return RenderedFragment(markup, capture, bool(reasons))


def names_to_tell(fragment: Fragment, seen: Mapping[str, Any]) -> list[str]:
    """Return the names that a block has looked up, without those whose values are arguments."""
    told, arguments = fragment.block.told, fragment.arguments
    return [
        name
        for name, value in seen.items()
        if not is_known_otherwise(name, value)
        and not (name in told and any(value is argument for argument in arguments))
    ]


def canonical_names(
    block: Block, names: Sequence[str]
) -> tuple[dict[str, CanonicalName], dict[str, str]]:
    """Return what stands under names, and why that of some has no spelling."""
    told, untold = {}, {}
    for name in names:
        try:
            told[name] = block.named(name)
        except UnstableName as error:
            untold[name] = str(error)
    return told, untold


def refuse(fragment: Fragment, reason: str) -> None:
    """See to it that what is rendered now is not kept."""
    if (capture := current_capture()) is not None:
        capture.is_unstorable = True
    fragment.warn_once(reason)


def dimensions_of_names(block: Block, seen: Mapping[str, Any]) -> set[str]:
    """Return what a block depends on by having asked for a name that cannot be watched itself."""
    found = set()
    users = [user for user in block.users() if user is not None]
    for name, value in seen.items():
        shown = value.user if issubclass(type(value), PermWrapper) else value
        is_user = name == "user" or any(shown is user for user in users)
        if is_user and shown is not ABSENT and not is_lazy(shown) and name not in block.told:
            found.add(USER)
    return found


def secrets_of_names(seen: Mapping[str, Any], requests: Sequence[Any]) -> list[str]:
    """Return what a block has used by having asked for its name."""
    values = [without_laziness(value) for value in seen.values()]
    found = ["messages"] if any(isinstance(value, BaseStorage) for value in values) else []
    # Django gives it to Jinja2 as a lazy text, whose use is seen in the request, if that is known.
    tokens = [type(seen.get(name)) for name in TOKEN_NAMES]
    if not requests and any(issubclass(one, Promise) for one in tokens):
        found.append("the CSRF token")
    return found
