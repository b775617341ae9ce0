"""Serve a list of fragments with one bulk read, and one bulk write for the missing ones.

Used by ``{% fragments %}`` of both template languages; `serving` handles the single fragments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.core.exceptions import SynchronousOnlyOperation

from cachelayers.canonical import Unstable
from cachelayers.fragments.keys import canonical_each, finish_keys
from cachelayers.fragments.markup import current_rendering, unpack_variant_marker
from cachelayers.fragments.serving import (
    NO_DIMENSIONS,
    ROUNDS,
    Block,
    Fragment,
    Memory,
    RenderedFragment,
    explain,
    follow_variant_markers,
    key_parts,
    render_packed,
    show,
)
from cachelayers.fragments.tag_options import TagOptions
from cachelayers.fragments.variants import Surroundings
from cachelayers.lookup import MISS, Requested, peek_many, recall_many_after_peeking
from cachelayers.utils.switch import is_disabled, switches

Found = dict[int, tuple[Any, frozenset[str]]]  # by the index in the list


@dataclass(slots=True)
class Listing:
    """One use of ``{% fragments %}``."""

    where: str
    tag_options: TagOptions
    texts: tuple[str, ...]
    memory: Memory
    surroundings: Surroundings
    arguments: Sequence[Sequence[object]]  # of each item
    block_of: Callable[[int], Block]
    _fragments: dict[int, Fragment] = field(default_factory=dict)
    _forms: list[str | Unstable] | None = None

    def fragment(self, number: int) -> Fragment:
        """Return the fragment of an item. Only items that are not plain hits need one."""
        found = self._fragments.get(number)
        if found is None:
            found = self._fragments[number] = Fragment(
                self.where,
                self.tag_options,
                self.arguments[number],
                self.texts,
                self.block_of(number),
                self.memory,
            )
        return found

    def keys(self, dimensions: frozenset[str]) -> list[str | Unstable]:
        try:
            texts, surroundings = key_parts(self.texts, dimensions, self.surroundings)
        except Unstable as error:
            return [error] * len(self.arguments)
        if self._forms is None:
            self._forms = canonical_each(self.arguments)
        return finish_keys(self.tag_options.name, self._forms, texts, surroundings)

    def keys_again(
        self, dimensions: frozenset[str], rendered: Sequence[list[RenderedFragment]]
    ) -> list[str | Unstable]:
        """Return the keys of all items, with the dimensions of those that were rendered."""
        keys = self.keys(dimensions)
        for number, rendered_fragment in enumerate(rendered):
            if rendered_fragment:
                try:
                    keys[number] = self.fragment(number).key(dimensions)
                except Unstable as error:
                    keys[number] = error
        return keys


def serve_list(listing: Listing) -> str:
    """Return the texts of all items, joined."""
    if switches and is_disabled():
        blocks = map(listing.block_of, range(len(listing.arguments)))
        return "".join([block.render_without_tag() for block in blocks])
    try:
        keys = listing.keys(listing.memory.dimensions)
        peeked = peek(listing, keys)
        texts = [packed for packed, _ in peeked if type(packed) is str]
        if len(texts) == len(keys) and current_rendering() is None:  # the usual case
            return "".join(texts)
        found = find_or_render(listing, keys, peeked)
    except SynchronousOnlyOperation as error:
        listing.fragment(0).warn_once(explain(error))
        found = {}
    return "".join(
        [
            show(listing.fragment(number), *found.get(number, (None, NO_DIMENSIONS)))
            for number in range(len(listing.arguments))
        ]
    )


def peek(listing: Listing, keys: Sequence[str | Unstable]) -> Sequence[tuple[Any, Any]]:
    """Look up the keys of all items; items without a key are skipped."""
    tag_options = listing.tag_options
    known = [key for key in keys if type(key) is str]
    return peek_many(tag_options.alias, known, freshness=tag_options.freshness)


def find_or_render(
    listing: Listing, keys: Sequence[str | Unstable], peeked: Sequence[tuple[Any, Any]]
) -> Found:
    """Return the values for this request, without those that must not be cached."""
    rendered: list[list[RenderedFragment]] = [[] for _ in keys]
    dimensions = listing.memory.dimensions
    open_ones: Sequence[int] = range(len(keys))
    found: Found = {}
    # A variant marker that another process stored names the dimensions of the other items too.
    for _ in range(ROUNDS):
        named = dimensions.union(*(unpack_variant_marker(packed) or () for packed, _ in peeked))
        if named == dimensions:
            break
        listing.memory.learn(named)
        dimensions = listing.memory.dimensions
        keys = listing.keys(dimensions)
        peeked = peek(listing, keys)
    if not listing.memory.has_rendered and len(keys) > 1:
        # The dimensions of the first item are nearly always those of the others, so that the others
        # can be stored in one step.
        find_first(listing, keys, peeked, rendered)
        dimensions = listing.memory.dimensions
        keys = listing.keys(dimensions)
        peeked = peek(listing, keys)
    for _ in range(ROUNDS):
        values = recall_round(listing, open_ones, keys, peeked, dimensions, rendered)
        variant_markers: dict[int, frozenset[str]] = {}
        for number, value in values.items():
            missing = None if type(value) is str else unpack_variant_marker(value)
            if missing is None:
                found[number] = value, dimensions
            else:
                variant_markers[number] = missing
        if not variant_markers:
            break
        dimensions = dimensions.union(*variant_markers.values())
        listing.memory.learn(dimensions)
        open_ones = list(variant_markers)
        keys = listing.keys_again(dimensions, rendered)
        peeked = peek(listing, [keys[number] for number in open_ones])
    return found


def find_first(
    listing: Listing,
    keys: Sequence[str | Unstable],
    peeked: Sequence[tuple[Any, Any]],
    rendered: Sequence[list[RenderedFragment]],
) -> None:
    """Render and store the first missing item."""
    read = iter(peeked)
    for number, key in enumerate(keys):
        if type(key) is str and next(read)[0] is MISS:
            with suppress(Unstable):
                follow_variant_markers(listing.fragment(number), rendered[number])
            return


def recall_round(
    listing: Listing,
    numbers: Sequence[int],
    keys: Sequence[str | Unstable],
    peeked: Sequence[tuple[Any, Any]],
    dimensions: frozenset[str],
    rendered: Sequence[list[RenderedFragment]],
) -> dict[int, Any]:
    """Return the values under keys, and render the missing ones."""
    values: dict[int, Any] = {}
    wanted: dict[int, Requested] = {}
    read = iter(peeked)
    for number in numbers:
        key = keys[number]
        if isinstance(key, Unstable):
            listing.fragment(number).warn_once(explain(key))
            continue
        value, stored = next(read)
        if type(value) is str:
            values[number] = value
            continue
        fragment = listing.fragment(number)
        if listing.memory.is_uncacheable(key):
            fragment.trace_reasons()
            continue
        if value is not MISS and fragment.accepts(value):
            values[number] = value
            continue
        compute = partial(render_packed, fragment, key, dimensions, rendered[number])
        wanted[number] = Requested(fragment.policy(key), compute, stored)
    if wanted:
        computed = recall_many_after_peeking(list(wanted.values()))
        values.update(zip(wanted, computed, strict=True))
    return values
