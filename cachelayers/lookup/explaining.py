"""Say why a recall would not find a fresh and valid entry. It computes nothing.

`cachelayers.testing` asks.
"""

from __future__ import annotations

import time

from cachelayers.invalidation import Unit, log_of, unit_of_work
from cachelayers.lookup.policy import Policy
from cachelayers.lookup.steps import CheckDependency, ReadEntry, dependencies_of
from cachelayers.utils.switch import is_disabled


def why_missed(alias: str, key: str) -> str | None:
    """Return why a recall in a new unit of work would have to compute, or None."""
    if is_disabled():
        return "caching is disabled"
    with unit_of_work() as unit:
        if unit.is_dirty():
            return (
                "an open transaction has written, and nothing is read or stored in it. In a"
                " TestCase, use caching()"
            )
        return why_missed_in(unit, Policy(alias, key, None, 0, (), collects=False))


def why_missed_in(unit: Unit, policy: Policy) -> str | None:
    """Return why the entry of a policy cannot be used by a unit, or None."""
    envelope, now = ReadEntry(policy).run(), time.time()
    if envelope is None:
        return "there is no entry. It was not computed, was removed, or could not be stored"
    if not envelope.is_fresh(now):
        return "its entry is no longer fresh"
    dependencies = dependencies_of(envelope)
    if dependencies is None:
        return "its entry cannot be read"
    for dependency in dependencies:
        if not CheckDependency(unit, dependency).run():
            tag = log_of(dependency.database).find_changed_tag(dependency)
            changed = "something that it depends on" if tag is None else repr(tag)
            return f"{changed} has changed in DATABASES[{dependency.database!r}]"
    return None
