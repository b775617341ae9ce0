"""The steps of a recall that do I/O, each with a blocking and an async form.

The flow in `flow` yields them; `calls` runs them.
"""

from __future__ import annotations

import asyncio
import inspect
import pickle
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import NoneType
from typing import Any

import django.db
from asgiref.sync import sync_to_async
from django.contrib.messages.storage.base import BaseStorage
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DatabaseError, connections
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.safestring import SafeString

from cachelayers.backends import (
    cache_errors,
    raise_if_callers,
    report_unreadable,
    report_unreadable_log,
)
from cachelayers.entries import Envelope, pack_envelope, unpack_envelope
from cachelayers.invalidation import Dependency, Unit, are_there_routers, database_to_check, log_of
from cachelayers.lookup.policy import Policy, report
from cachelayers.utils.captures import own_read
from cachelayers.utils.flows import Step
from cachelayers.utils.freshness import knowledge_may_be_old
from cachelayers.utils.single_flight import Flight
from cachelayers.utils.sizes import measuring
from cachelayers.utils.tracing import TracedRecall, traced_recall

# Most values, and all fragments without holes.
WITH_NOTHING_TO_READ = frozenset({NoneType, bool, int, float, str, bytes, SafeString})
OF_ONE_VISITOR = (HttpResponseBase, HttpRequest, SessionBase, BaseStorage)


class DiscardedFile:
    """A file that discards everything."""

    def write(self, data: bytes) -> None:
        """Discard the data."""


class ResponseFound(TypeError):
    """A value is, or holds, a response, a request or a session."""


class Evaluator(pickle.Pickler):
    """Visits what a cache will pickle, and stops at objects that must not be cached."""

    def reducer_override(self, one: Any) -> Any:
        if isinstance(one, OF_ONE_VISITOR):
            raise ResponseFound(type(one).__name__)
        return NotImplemented


def refuse_response(where: str, value: object) -> None:
    """Raise TypeError for a response or request, which holds one visitor's cookies and tokens."""
    if isinstance(value, OF_ONE_VISITOR):
        raise response_error(where, type(value).__name__)


def response_error(where: str, name: str) -> TypeError:
    """Return the error that names the alternatives."""
    return TypeError(
        f"{where} made a value that contains a response, request or session ({name}). It belongs to"
        " one visitor: it holds cookies, a CSRF token, maybe a name. Cache the data instead; or"
        " parts of the template with {% fragment %}; or whole pages with Django's cache_page."
    )


def evaluate(where: str, value: object) -> Exception | None:
    """Run the queries in a value and evaluate its lazy objects, which then keep the result.

    Return the error of a value that has no pickle. Database errors are raised, and TypeError for a
    response or request in the value; ``where`` begins its message. The value is pickled to do so,
    because that visits what a cache will store: a walk through attributes would reach the managers
    of models, and through them the whole site.
    """
    if type(value) in WITH_NOTHING_TO_READ:
        return None
    try:
        Evaluator(DiscardedFile(), pickle.HIGHEST_PROTOCOL).dump(value)
    except (DatabaseError, SynchronousOnlyOperation):
        raise
    except ResponseFound as found:
        raise response_error(where, str(found)) from None
    except Exception as error:  # noqa: BLE001 - a class's own pickling may raise anything
        return error
    return None


FIRST_LOOK_SECONDS = 0.002  # an async caller polls whether a flight has completed


Steps = Generator[Step, Any, Any]


class CacheStep:
    """A call of the cache. After an error, the answer is ``when_down``."""

    operation = ""
    when_down: Any = None

    def __init__(self, policy: Policy, *arguments: Any, **keywords: Any) -> None:
        self.policy, self.arguments, self.keywords = policy, arguments, keywords

    def run(self) -> Any:
        try:
            method = getattr(self.policy.cache, self.operation)
            with own_read():
                return self.convert_answer(method(*self.arguments, **self.keywords))
        except cache_errors() as error:
            return self._explain(error)

    async def arun(self) -> Any:
        try:
            method = getattr(self.policy.cache, f"a{self.operation}")
            with own_read():
                return self.convert_answer(await method(*self.arguments, **self.keywords))
        except cache_errors() as error:
            return self._explain(error)

    def convert_answer(self, answer: Any) -> Any:
        """Convert the cache's answer for the flow."""
        return answer

    def _explain(self, error: BaseException) -> Any:
        report(self.policy.alias, self.operation, error)
        return self.when_down


class ReadEntry(CacheStep):
    """Read the envelope under the key, or None.

    ``shared``: past the memory of this process, if that is one layer of several: the memory's entry
    is known to be outdated, and another process may have stored a newer one. This second read is
    not counted, because it would count each computed value as two misses.
    """

    operation = "get"

    def __init__(self, policy: Policy, *, shared: bool = False, freshness: float = 0.0) -> None:
        super().__init__(policy, policy.key)
        self.freshness = freshness
        if shared and hasattr(policy.cache, "get_shared"):
            self.operation = "get_shared"

    def run(self) -> Envelope | None:
        try:
            with knowledge_may_be_old(self.freshness):
                return unpack_envelope(super().run())
        except Exception as error:  # noqa: BLE001 - a decoder may raise anything: a miss
            self._report(error)
        return None

    async def arun(self) -> Envelope | None:
        try:
            with knowledge_may_be_old(self.freshness):
                return unpack_envelope(await super().arun())
        except Exception as error:  # noqa: BLE001 - as above
            self._report(error)
        return None

    def _report(self, error: Exception) -> None:
        raise_if_callers(error)
        report_unreadable(self.policy.alias, error)


class StoreStep(CacheStep):
    """A write of values, whose sizes are traced. ``traced``: by the ``id()`` of each value."""

    traced: Mapping[int, TracedRecall] | None = None

    def run(self) -> Any:
        if not self.traced:
            return super().run()
        with self._measuring():
            return super().run()

    async def arun(self) -> Any:
        if not self.traced:
            return await super().arun()
        with self._measuring():
            return await super().arun()

    @contextmanager
    def _measuring(self) -> Iterator[None]:
        with measuring() as sizes:
            yield
        for number, recall in (self.traced or {}).items():
            recall.stored_bytes = sizes.get(number, 0)


class StoreEntry(StoreStep):
    """Store an envelope under the key. The answer is whether the cache took the call."""

    operation = "set"
    when_down = False

    def __init__(self, policy: Policy, envelope: Envelope) -> None:
        lifetime = policy.lifetime()
        if policy.timing.timeout_of is not None:
            dead_until = envelope.dead_until
            lifetime = None if dead_until is None else dead_until - envelope.created
        packed = pack_envelope(envelope)
        super().__init__(policy, policy.key, packed, timeout=lifetime)
        if (recall := traced_recall()) is not None:
            self.traced = {id(packed): recall}

    def convert_answer(self, answer: Any) -> bool:
        return True


class TakeLease(CacheStep):
    """Ask for the lease. A cache that is down grants it to everybody."""

    operation = "add"
    when_down = True

    def __init__(self, policy: Policy, token: str, seconds: float) -> None:
        super().__init__(policy, policy.lease_key, token, timeout=seconds)


class ReadLease(CacheStep):
    """Read the token of the lease's holder."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy, policy.lease_key)
        # Reading a lease counts neither as a hit nor as a miss.
        self.operation = "get_shared" if hasattr(policy.cache, "get_shared") else "get"


class DropLease(CacheStep):
    operation = "delete"

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy, policy.lease_key)


class DatabaseStep:
    """A read of the log. After an error, as in a broken transaction, the answer is False."""

    def __init__(self, unit: Unit, database: str) -> None:
        self.unit, self.database = unit, database

    def run(self) -> bool:
        try:
            return self.read_log()
        except django.db.Error as error:
            report_unreadable_log(self.database, error)
            return False

    async def arun(self) -> bool:
        if self.is_known():
            return self.run()
        return bool(await sync_to_async(self.run)())

    def read_log(self) -> bool:
        """Do the read, with statements if necessary."""
        raise LookupError  # subclasses define it

    def is_known(self) -> bool:
        """Return whether no statement is necessary."""
        raise LookupError


class FixPosition(DatabaseStep):
    """Fix the unit's position in a log, before data is read that will be stored with it."""

    def read_log(self) -> bool:
        self.unit.refresh(self.database)
        # Without a log's incarnation the position is unknown: its transaction has written. An event
        # loop has other connections, and must not ask for it again.
        return bool(self.unit.position(self.database).incarnation)

    def is_known(self) -> bool:
        return not self.unit.needs_refresh(self.database)


class CheckDependency(DatabaseStep):
    """Check that nothing that an entry depends on has changed since it was computed.

    ``freshness``: the seconds for which the log need not be read again.
    """

    def __init__(self, unit: Unit, dependency: Dependency, freshness: float = 0.0) -> None:
        super().__init__(unit, dependency.database)
        self.dependency, self.freshness = dependency, freshness

    def read_log(self) -> bool:
        database: str | None = self.database
        if database not in connections.settings:
            return False
        if are_there_routers():
            _, incarnation, _, tags = self.dependency
            database = database_to_check(self.unit, self.database, incarnation, tags)
        if database is None:
            return False
        if not self._may_skip_refresh():
            self.unit.refresh(database)
        return log_of(database).is_unchanged_since(*self.dependency[1:])

    def is_known(self) -> bool:
        if are_there_routers():
            return False
        if self.unit.needs_refresh(self.database) and not self._may_skip_refresh():
            return False
        return log_of(self.database).knows_since(self.dependency.position)

    def _may_skip_refresh(self) -> bool:
        """Return whether what this process has read is recent enough, and reaches the entry."""
        _, incarnation, position, _ = self.dependency
        return (
            self.freshness > 0
            and log_of(self.database).reaches(incarnation, position)
            and self.unit.may_skip_refresh(self.database, self.freshness)
        )


class Compute:
    def __init__(self, compute: Callable[[], Any]) -> None:
        self.compute = compute

    def run(self) -> Any:
        value = self.compute()
        if inspect.isawaitable(value):
            if isinstance(value, Coroutine):
                value.close()
            raise TypeError(
                f"{self.compute!r} returned an awaitable. Use arecall() for what is async."
            )
        return value

    async def arun(self) -> Any:
        value = self.compute()
        return await value if isinstance(value, Awaitable) else value


class EvaluateLazyQuerysets:
    """Evaluate what a value would read later. Refuse values that must not be cached.

    The answer is the error of a value that has no pickle, or None.
    """

    def __init__(self, policy: Policy, value: object) -> None:
        self.where, self.value = f"recall({policy.key!r})", value

    def run(self) -> Exception | None:
        return evaluate(self.where, self.value)

    async def arun(self) -> Exception | None:
        try:
            return evaluate(self.where, self.value)
        except SynchronousOnlyOperation:  # a query has to be run, which is rare
            return await sync_to_async(evaluate)(self.where, self.value)


class AwaitFlight:
    """Wait until a flight has completed, or for some seconds."""

    def __init__(self, flight: Flight, seconds: float) -> None:
        self.flight, self.seconds = flight, seconds

    def run(self) -> None:
        if not self.flight.is_of_this_thread():
            self.flight.completed.wait(self.seconds)

    async def arun(self) -> None:
        # Polled, because the flight may belong to another thread or event loop.
        end = time.monotonic() + self.seconds
        pause = FIRST_LOOK_SECONDS
        while not self.flight.completed.is_set() and time.monotonic() < end:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.05)


class Sleep:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def run(self) -> None:
        time.sleep(self.seconds)

    async def arun(self) -> None:
        await asyncio.sleep(self.seconds)


def dependencies_of(envelope: Envelope) -> Sequence[Dependency] | None:
    """Return an envelope's dependencies, or None if they are malformed."""
    try:
        return [Dependency(*one) for one in envelope.dependencies]
    except TypeError:
        return None
