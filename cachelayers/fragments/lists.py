"""Serve a list of fragments with one bulk read, and one bulk write of those that were missing."""

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
    make_kept,
    parts_in,
    show,
)
from cachelayers.fragments.tag_options import TagOptions
from cachelayers.fragments.variants import Surroundings
from cachelayers.lookup import MISS, Requested, peek_many, recall_many_after_peeking

Found = dict[int, tuple[Any, frozenset[str]]]  # by the number in the list


@dataclass(slots=True)
class Listing:
    """One use of a tag that keeps a block for each item of a list."""

    where: str
    given: TagOptions
    texts: tuple[str, ...]
    memory: Memory
    place: Surroundings
    arguments: Sequence[Sequence[object]]  # of each item
    block_of: Callable[[int], Block]
    _fragments: dict[int, Fragment] = field(default_factory=dict)
    _forms: list[str | Unstable] | None = None

    def fragment(self, number: int) -> Fragment:
        """Return the fragment of an item; only those that are not just shown are made."""
        found = self._fragments.get(number)
        if found is None:
            found = self._fragments[number] = Fragment(
                self.where,
                self.given,
                self.arguments[number],
                self.texts,
                self.block_of(number),
                self.memory,
            )
        return found

    def keys(self, dimensions: frozenset[str]) -> list[str | Unstable]:
        """Return the keys of all items."""
        try:
            texts, place = parts_in(self.texts, dimensions, self.place)
        except Unstable as error:
            return [error] * len(self.arguments)
        if self._forms is None:
            self._forms = canonical_each(self.arguments)
        return finish_keys(self.given.name, self._forms, texts, place)

    def keys_again(
        self, dimensions: frozenset[str], made: Sequence[list[RenderedFragment]]
    ) -> list[str | Unstable]:
        """Return the keys of all items; of those that were made with what they were made of."""
        keys = self.keys(dimensions)
        for number, rendered_fragment in enumerate(made):
            if rendered_fragment:
                try:
                    keys[number] = self.fragment(number).key(dimensions)
                except Unstable as error:
                    keys[number] = error
        return keys


def serve_list(listing: Listing) -> str:
    """Return the texts of all items, one after the other."""
    try:
        keys = listing.keys(listing.memory.dimensions)
        peeked = peek(listing, keys)
        texts = [kept for kept, _ in peeked if type(kept) is str]
        if len(texts) == len(keys) and current_rendering() is None:  # as almost always
            return "".join(texts)
        found = find_or_make(listing, keys, peeked)
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
    """Look under the keys of all items, those that have none left out where there are such."""
    return peek_many(listing.given.alias, [key for key in keys if type(key) is str])


def find_or_make(
    listing: Listing, keys: Sequence[str | Unstable], peeked: Sequence[tuple[Any, Any]]
) -> Found:
    """Return what is kept for this request; without those that may not be kept."""
    made: list[list[RenderedFragment]] = [[] for _ in keys]
    dimensions = listing.memory.dimensions
    open_ones: Sequence[int] = range(len(keys))
    found: Found = {}
    # One that another process has rendered tells under which keys it has stored the others too.
    for _ in range(ROUNDS):
        told = dimensions.union(*(unpack_variant_marker(kept) or () for kept, _ in peeked))
        if told == dimensions:
            break
        listing.memory.learn(told)
        dimensions = listing.memory.dimensions
        keys = listing.keys(dimensions)
        peeked = peek(listing, keys)
    if not listing.memory.has_rendered and len(keys) > 1:
        # What tells the first one nearly always tells the others: they are stored at once then.
        find_first(listing, keys, peeked, made)
        dimensions = listing.memory.dimensions
        keys = listing.keys(dimensions)
        peeked = peek(listing, keys)
    for _ in range(ROUNDS):
        values = recall_round(listing, open_ones, keys, peeked, dimensions, made)
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
        keys = listing.keys_again(dimensions, made)
        peeked = peek(listing, [keys[number] for number in open_ones])
    return found


def find_first(
    listing: Listing,
    keys: Sequence[str | Unstable],
    peeked: Sequence[tuple[Any, Any]],
    made: Sequence[list[RenderedFragment]],
) -> None:
    """Render the first item that is missing, and keep it."""
    read = iter(peeked)
    for number, key in enumerate(keys):
        if type(key) is str and next(read)[0] is MISS:
            with suppress(Unstable):
                follow_variant_markers(listing.fragment(number), made[number])
            return


def recall_round(
    listing: Listing,
    numbers: Sequence[int],
    keys: Sequence[str | Unstable],
    peeked: Sequence[tuple[Any, Any]],
    dimensions: frozenset[str],
    made: Sequence[list[RenderedFragment]],
) -> dict[int, Any]:
    """Return what is kept under keys, and make what is missing there."""
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
        if listing.memory.is_secret(key):
            continue
        if value is not MISS and fragment.accepts(value):
            values[number] = value
            continue
        compute = partial(make_kept, fragment, key, dimensions, made[number])
        wanted[number] = Requested(fragment.policy(key), compute, stored)
    if wanted:
        computed = recall_many_after_peeking(list(wanted.values()))
        values.update(zip(wanted, computed, strict=True))
    return values
