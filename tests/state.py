"""The process-wide state of the package in one place, and how a test begins without it.

Names are below `cachelayers`. `tests/test_state.py` finds an object that is in neither table.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from importlib import import_module
from operator import attrgetter
from typing import Any

from django.core.cache import caches

# What `reset()` forgets. It is found or made again when it is needed.
FORGOTTEN = (
    # Of caches and their layers
    "backends.database.base._components",
    "backends.database.django_session._largest_packets",
    "backends.database.django_session._statements",
    "backends.layered.circuit_breaker._breakers",
    "backends.layered.state._states",
    "backends.locking._held",
    "backends.memory.cache._stores",
    # Of the log and of databases
    "invalidation.incarnations._knows_server",
    "invalidation.log._logs",
    "invalidation.own_statements._pauses",
    "invalidation.sql.analysis._databases",
    "invalidation.tags._doubted_tags",
    "invalidation.tags._stored_user_tags",
    # What was reported, and when the next report is due
    "backends.faults.unreadable_logs",
    "backends.layered.calls.refused",
    "backends.unreadable.reports",
    "invalidation.reports.reports",
    "lookup.policy.failures",
    "staticfiles.names.reports",
    # Of templates and static files
    "fragments.canonical.initial_names",
    "fragments.canonical.wrapping_fields",
    "fragments.jinja._codes",
    "fragments.jinja._found",
    "fragments.sources._digests",
    "staticfiles.ids.memo",
    "staticfiles.ids.pause",
    # Samples and counts that wait to be written
    "utils.endings.endings",
    "utils.tracing.pending_samples",
    # Caches of functions
    "canonical.canonical_row_prefix",
    "backends.patterns.pattern_of",
    "conf.package_settings",
    "fragments.canonical.encoder_of_plain_rows",
    "fragments.canonical.fields_of",
    "fragments.canonical.is_laid_out_by_python",
    "fragments.canonical.initial_types",
    "fragments.keys.beginning_of",
    "fragments.keys.source_of",
    "fragments.variants.needs_surroundings",
    "fragments.variants.ordered",
    "invalidation.dependencies.attributes_of_row",
    "invalidation.dependencies.foreign_keys_of",
    "invalidation.dialects.dialect_for",
    "invalidation.routes.models_by_tag",
    "invalidation.sql.explaining.unused_condition",
    "invalidation.sql.statements.names_of",
    "invalidation.sql.tokens.pattern_for",
    "invalidation.tracked._tracked_models",
    "invalidation.tracked._tracked_tables",
    "invalidation.tracked.tables_of_all_models",
    "lookup.policy.cached_user_tags",
    "request_access.mappings.reader_of",
    "request_access.requests.is_code",
    "request_access.requests.observed_class",
    "staticfiles.names.is_foreign_text",
    "staticfiles.names.read_text",
    "utils.tracing.folders_of_others",
    "utils.tracing.is_of_project",
)

# What stays, by the reason.
KEPT = {
    "belongs to a block, a request or a call, whose end removes it": (
        "auto_units.tasks",
        "fragments.markup._rendering",
        "fragments.variants.asked",
        "invalidation.dependencies._capture",
        "invalidation.transactions.test_transactions",
        "invalidation.units._running",
        "invalidation.units._unit",
        "request_access.mappings._observer",
        "request_access.mappings._swaps",
        "utils.captures._is_own_read",
        "utils.freshness.allowed_age",
        "utils.captures.running_captures",
        "utils.locks._handlers",
        "utils.single_flight._flights",
        "utils.sizes._sizes",
        "utils.sizes.running_measurements",
        "utils.switch._blocks",
        "utils.switch.switches",
        "utils.tracing._recall",
        "utils.tracing._trace",
        "utils.tracing._work",
        "utils.tracing.active_traces",
    ),
    "is filled when a module is imported or a function decorated, which happens once": (
        "backends.kinds._registered",
        "fragments.canonical.encoders",
        "invalidation.tags._models_by_user_tag",
        "invalidation.tags._tags_of_functions",
        "tasks.celery_task",
        "templatetags.cachelayers.register",
        "utils.captures._listeners",
        "warming.registry._warmers",
    ),
    "refers weakly to objects that live elsewhere": (
        "backends.database.sqlite_file._every_connection",
        "backends.memory.store._stores",
        "fragments.nodes._holes",
        "utils.locks._all_locks",
    ),
    "is used while the process forks": (
        "backends.database.sqlite_file._held_for_fork",
        "backends.memory.store._held_for_fork",
        "utils.locks._forks",
        "utils.locks._no_fork",
    ),
    "names the files of this run, which stay open": (
        "backends.database.sessions._files_assigned",
        "backends.database.sessions._files_of_site",
        "backends.database.sessions._folders",
        "backends.database.sessions._names_assigned",
        "backends.database.sessions._names_of_site",
        "backends.database.sessions._numbers_of_files",
    ),
    "counts on, as others have noted how far it was": (
        "backends.layered.bus._numbers",
        "backends.layered.state._local_numbers",
        "backends.locking._numbers",
        "invalidation.transactions.own_writes",
        "prometheus.exporters",
        "statistics.writing.writer",
        "utils.counters._cells",
        "utils.counters._cells_of_caches",
        "utils.counters.counts",
        "utils.counters.heartbeat",
        "utils.counters.untracked_reads",
    ),
}


def reset(*parts: str) -> None:
    """Forget what the process remembers: all of `FORGOTTEN`, or what is in these modules.

    Without parts it also forgets this thread's cache objects, which hold some of it. With parts,
    objects that are there keep what they hold.
    """
    names = [name for name in FORGOTTEN if not parts or is_in(name, parts)]
    assert names, f"nothing is kept in {parts}"
    for name in names:
        forgetting(object_named(name))()
    if not parts:
        for alias in caches:
            with contextlib.suppress(AttributeError):
                del caches[alias]


@contextmanager
def another_process(*parts: str) -> Iterator[None]:
    """Have the block know as little as another process, and go on with what is known here."""
    places = [object_named(name) for name in FORGOTTEN if is_in(name, parts)]
    known = [dict(place) for place in places]
    reset(*parts)
    try:
        yield
    finally:
        reset(*parts)
        for place, mine in zip(places, known, strict=True):
            place.update(mine)


def is_in(name: str, parts: tuple[str, ...]) -> bool:
    return any(f"{name}.".startswith(f"{part}.") for part in parts)


def object_named(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return attrgetter(attribute)(import_module(f"cachelayers.{module}"))


def forgetting(state: Any) -> Callable[[], object]:
    """Return the method by which an object forgets."""
    methods = (getattr(state, name, None) for name in ("cache_clear", "clear", "end"))
    return reduce(lambda one, other: one or other, methods)  # type: ignore[return-value]
