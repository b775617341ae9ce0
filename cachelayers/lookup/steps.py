"""What a recall does to the world, step by step: each in a way that blocks and one that does not.

The flow in `flow` yields steps; `calls` has them carried out.
"""

from __future__ import annotations

import asyncio
import inspect
import pickle
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
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

from cachelayers.backends.faults import cache_errors, report_unreadable_log
from cachelayers.backends.unreadable import raise_if_callers, report_unreadable
from cachelayers.entries import Envelope, pack_envelope, unpack_envelope
from cachelayers.invalidation.log import Dependency, log_of
from cachelayers.invalidation.routes import are_there_routers, database_to_check
from cachelayers.invalidation.units import Unit
from cachelayers.lookup.policy import Policy, report
from cachelayers.utils.captures import own_read
from cachelayers.utils.flows import Step
from cachelayers.utils.single_flight import Flight

# As most values are, and all fragments without holes.
WITH_NOTHING_TO_READ = frozenset({NoneType, bool, int, float, str, bytes, SafeString})
OF_ONE_VISITOR = (HttpResponseBase, HttpRequest, SessionBase, BaseStorage)


class Nowhere:
    """A file that nothing is written to."""

    def write(self, data: bytes) -> None:
        """Drop it."""


class ResponseFound(TypeError):
    """A value is, or holds, a response, a request or a session."""


class Evaluator(pickle.Pickler):
    """Goes where a cache will go, and stops at what no cache may be given."""

    def reducer_override(self, one: Any) -> Any:
        """Look at what is neither a plain value nor a container."""
        if isinstance(one, OF_ONE_VISITOR):
            raise ResponseFound(type(one).__name__)
        return NotImplemented


def refuse_response(where: str, value: object) -> None:
    """Raise TypeError for a response or request: it is one visitor's, with cookies and tokens."""
    if isinstance(value, OF_ONE_VISITOR):
        raise response_error(where, type(value).__name__)


def response_error(where: str, name: str) -> TypeError:
    """Return the error that says what to do instead."""
    return TypeError(
        f"{where} made a value with a response, request or session in it ({name}). That is one"
        " visitor's: it holds cookies, a CSRF token, maybe a name. Cache what it is made from; or"
        " parts of its template with {% fragment %}; or whole pages with Django's cache_page."
    )


def evaluate(where: str, value: object) -> None:
    """Run the queries in a value and use its lazy objects, which keep what they have read.

    Raises what the database does, and TypeError for a response or request in it; ``where`` begins
    its text. By pickling it, which goes where a cache will go: a walk through attributes would end
    in the managers of models, and with them in all of the site.
    """
    if type(value) in WITH_NOTHING_TO_READ:
        return
    try:
        Evaluator(Nowhere(), pickle.HIGHEST_PROTOCOL).dump(value)
    except (DatabaseError, SynchronousOnlyOperation):
        raise
    except ResponseFound as found:
        raise response_error(where, str(found)) from None
    except Exception:  # noqa: BLE001, S110 - anything: the cache will say so, or not pickle it at all
        pass


FIRST_LOOK_SECONDS = 0.002  # an async caller looks whether a flight has landed


Steps = Generator[Step, Any, Any]


class CacheStep:
    """A call of the cache; one that fails is answered by ``when_down``."""

    operation = ""
    when_down: Any = None

    def __init__(self, policy: Policy, *arguments: Any, **keywords: Any) -> None:
        self.policy, self.arguments, self.keywords = policy, arguments, keywords

    def run(self) -> Any:
        try:
            method = getattr(self.policy.cache, self.operation)
            with own_read():
                return self.read(method(*self.arguments, **self.keywords))
        except cache_errors() as error:
            return self._explain(error)

    async def arun(self) -> Any:
        try:
            method = getattr(self.policy.cache, f"a{self.operation}")
            with own_read():
                return self.read(await method(*self.arguments, **self.keywords))
        except cache_errors() as error:
            return self._explain(error)

    def read(self, answer: Any) -> Any:
        """Return what the flow makes of the cache's answer."""
        return answer

    def _explain(self, error: BaseException) -> Any:
        report(self.policy.alias, self.operation, error)
        return self.when_down


class ReadEntry(CacheStep):
    """Get the envelope under the key, or None.

    ``shared``: past the memory of this process, where it is one layer of several. What is there is
    known to be outdated, and another process may have stored a newer one. Such a second look is not
    counted: it would make each value that is computed two misses.
    """

    operation = "get"

    def __init__(self, policy: Policy, *, shared: bool = False) -> None:
        super().__init__(policy, policy.key)
        if shared and hasattr(policy.cache, "get_shared"):
            self.operation = "get_shared"

    def run(self) -> Envelope | None:
        try:
            return unpack_envelope(super().run())
        except Exception as error:  # noqa: BLE001 - whatever a decoder raises is a miss
            self._report(error)
        return None

    async def arun(self) -> Envelope | None:
        try:
            return unpack_envelope(await super().arun())
        except Exception as error:  # noqa: BLE001 - as above
            self._report(error)
        return None

    def _report(self, error: Exception) -> None:
        raise_if_callers(error)
        report_unreadable(self.policy.alias, error)


class StoreEntry(CacheStep):
    """Put an envelope under the key. Tell whether that could be tried."""

    operation = "set"
    when_down = False

    def __init__(self, policy: Policy, envelope: Envelope) -> None:
        super().__init__(policy, policy.key, pack_envelope(envelope), timeout=policy.lifetime())

    def read(self, answer: Any) -> bool:
        return True


class TakeLease(CacheStep):
    """Ask for the right to compute the entry. A cache that is down grants it to everybody."""

    operation = "add"
    when_down = True

    def __init__(self, policy: Policy, token: str, seconds: float) -> None:
        super().__init__(policy, policy.lease_key, token, timeout=seconds)


class ReadLease(CacheStep):
    """Get the token of the lease's holder."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy, policy.lease_key)
        # A lease is no value: a look at it is neither a hit nor a miss.
        self.operation = "get_shared" if hasattr(policy.cache, "get_shared") else "get"


class DropLease(CacheStep):
    """Give the lease back."""

    operation = "delete"

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy, policy.lease_key)


class DatabaseStep:
    """A look at the log; one that fails, in a broken transaction say, is answered by False."""

    def __init__(self, unit: Unit, database: str) -> None:
        self.unit, self.database = unit, database

    def run(self) -> bool:
        try:
            return self.look()
        except django.db.Error as error:
            report_unreadable_log(self.database, error)
            return False

    async def arun(self) -> bool:
        if self.is_known():
            return self.run()
        return bool(await sync_to_async(self.run)())

    def look(self) -> bool:
        """Look, with statements if need be."""
        raise LookupError  # each kind of look has its own

    def is_known(self) -> bool:
        """Tell whether no statement is needed."""
        raise LookupError


class FixPosition(DatabaseStep):
    """Have a position in a log, before anything is read that will be stored with it."""

    def look(self) -> bool:
        self.unit.refresh(self.database)
        self.unit.position(self.database)
        return True

    def is_known(self) -> bool:
        return not self.unit.needs_refresh(self.database)


class CheckDependency(DatabaseStep):
    """Ask whether nothing that an entry depends on has changed since it was made."""

    def __init__(self, unit: Unit, dependency: Dependency) -> None:
        super().__init__(unit, dependency.database)
        self.dependency = dependency

    def look(self) -> bool:
        database: str | None = self.database
        if database not in connections.settings:
            return False
        if are_there_routers():
            _, incarnation, _, tags = self.dependency
            database = database_to_check(self.unit, self.database, incarnation, tags)
        if database is None:
            return False
        self.unit.refresh(database)
        return log_of(database).is_unchanged_since(*self.dependency[1:])

    def is_known(self) -> bool:
        if are_there_routers():
            return False
        return not self.unit.needs_refresh(self.database) and log_of(self.database).knows_since(
            self.dependency.position
        )


class Compute:
    """Make the value."""

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
    """Have a value read what it has left for later; refuse one that no cache may be given."""

    def __init__(self, policy: Policy, value: object) -> None:
        self.where, self.value = f"recall({policy.key!r})", value

    def run(self) -> None:
        evaluate(self.where, self.value)

    async def arun(self) -> None:
        try:
            evaluate(self.where, self.value)
        except SynchronousOnlyOperation:  # a query that is to be run, as in few values
            await sync_to_async(evaluate)(self.where, self.value)


class AwaitFlight:
    """Wait until a flight has landed, or for so long."""

    def __init__(self, flight: Flight, seconds: float) -> None:
        self.flight, self.seconds = flight, seconds

    def run(self) -> None:
        if not self.flight.is_of_this_thread():
            self.flight.completed.wait(self.seconds)

    async def arun(self) -> None:
        # Looked at, not waited for: the flight may be one of another thread or event loop.
        end = time.monotonic() + self.seconds
        pause = FIRST_LOOK_SECONDS
        while not self.flight.completed.is_set() and time.monotonic() < end:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.05)


class Sleep:
    """Let some time pass."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def run(self) -> None:
        time.sleep(self.seconds)

    async def arun(self) -> None:
        await asyncio.sleep(self.seconds)


def dependencies_of(envelope: Envelope) -> Sequence[Dependency] | None:
    """Return what an envelope depends on, or None where it was tampered with."""
    try:
        return [Dependency(*one) for one in envelope.dependencies]
    except TypeError:
        return None
