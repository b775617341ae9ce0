"""recall_many: many values in one read, one computation and one write."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict, TypeVar, Unpack, overload

from cachelayers.durations import Duration
from cachelayers.invalidation import ensure_unit
from cachelayers.lookup.batches import Requested, peek_many, recall_steps
from cachelayers.lookup.groups import ABSENT, ComputeMany
from cachelayers.lookup.peeking import MISS, NOT_READ
from cachelayers.lookup.policy import UNSET, Policy, Timeout, Unset, make_policy
from cachelayers.utils.flows import arun_flow, run_flow
from cachelayers.utils.switch import is_disabled

Value = TypeVar("Value")
TagsOfKey = Iterable[str] | Callable[[str], Iterable[str]]


class ManyOptions(TypedDict, total=False):
    """The options of recall_many, for type checkers."""

    timeout: Timeout
    stale: Duration
    tags: TagsOfKey
    using: str | None
    capture: bool
    jitter: float
    refresh_ahead: float
    freshness: Duration | Unset


def recall_many(
    keys: Iterable[str],
    compute: Callable[[list[str]], Mapping[str, Value]],
    **options: Unpack[ManyOptions],
) -> dict[str, Value]:
    """Return the values under ``keys``. Compute the missing ones together, and store them.

    ``compute`` gets the list of the missing keys, and returns a dict of their values. A key that it
    leaves out is not in the result, and is not stored. All that it reads invalidates every value
    that it returns.

    The options are recall()'s; ``tags`` may be a function that gets a key and returns tags.

    Exceptions of ``compute`` are raised. Raises TypeError or ValueError for invalid arguments, and
    if ``compute`` returns no dict, or a key that it was not given.
    """
    policies = policies_of(keys, compute, options)
    return found_in(policies, recall_each(policies, compute))


@overload
async def arecall_many(
    keys: Iterable[str],
    compute: Callable[[list[str]], Awaitable[Mapping[str, Value]]],
    **options: Unpack[ManyOptions],
) -> dict[str, Value]: ...
@overload
async def arecall_many(
    keys: Iterable[str],
    compute: Callable[[list[str]], Mapping[str, Value]],
    **options: Unpack[ManyOptions],
) -> dict[str, Value]: ...
async def arecall_many(
    keys: Iterable[str], compute: Callable[[list[str]], Any], **options: Unpack[ManyOptions]
) -> dict[str, Any]:
    """Do recall_many() without blocking the event loop. ``compute`` may be async."""
    policies = policies_of(keys, compute, options)
    if not policies:
        return {}
    with ensure_unit() as unit:
        requested = [Requested(policy, compute, together=True) for policy in policies]
        return found_in(policies, await arun_flow(recall_steps(requested, unit)))


def policies_of(keys: Iterable[str], compute: ComputeMany, options: ManyOptions) -> list[Policy]:
    """Return a policy for each key. Raise TypeError or ValueError for invalid arguments."""
    if isinstance(keys, str):
        raise TypeError(f"The keys are {keys!r}. Give a list of strings.")
    tags = options.get("tags", ())
    tags_of = tags if callable(tags) else None
    fixed = tuple(tags) if isinstance(tags, Iterator) else tags  # readable once
    return [
        make_policy(
            key,
            compute,
            options.get("timeout", UNSET),
            options.get("stale", 0),
            fixed if tags_of is None else tags_of(key),  # type: ignore[arg-type] # as checked above
            options.get("using"),
            options.get("capture", True),
            options.get("jitter", 0.0),
            options.get("refresh_ahead", 0.0),
            options.get("freshness", UNSET),
        )
        for key in dict.fromkeys(keys)
    ]


def recall_each(policies: Sequence[Policy], compute: ComputeMany) -> list[Any]:
    """Return the value of each policy, or ABSENT."""
    if not policies:
        return []
    peeked: Sequence[tuple[Any, Any]] = [(MISS, NOT_READ)] * len(policies)
    if not is_disabled():
        keys = [policy.key for policy in policies]
        first = policies[0]
        peeked = peek_many(first.alias, keys, is_shown_only=False, freshness=first.freshness)
    values = [value for value, _ in peeked]
    missing = [number for number, value in enumerate(values) if value is MISS]
    if missing:
        requested = [
            Requested(policies[number], compute, peeked[number][1], together=True)
            for number in missing
        ]
        with ensure_unit() as unit:
            made = run_flow(recall_steps(requested, unit))
        for number, value in zip(missing, made, strict=True):
            values[number] = value
    return values


def found_in(policies: Sequence[Policy], values: Sequence[Any]) -> dict[str, Any]:
    """Return the values by key, without the absent ones."""
    return {
        policy.key: value
        for policy, value in zip(policies, values, strict=True)
        if value is not ABSENT
    }
