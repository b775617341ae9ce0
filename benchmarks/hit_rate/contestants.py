"""The contestants: each reads an answer from where it has it, or computes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from benchmarks.hit_rate.answers import shown
from benchmarks.hit_rate.names import CACHALOT, CACHEOPS, NEVER, NO_CACHE, ORACLE, OURS
from benchmarks.hit_rate.workload import Site

TIMEOUT = 3600  # seconds of the site's clock


class Contestant(Protocol):
    """Answers reads. Computing is a miss, if it runs a statement."""

    def read(self, key: tuple[str, object], compute: Callable[[], Any], right: Any) -> Any:
        """Return the answer. Only the oracle looks at the right one."""


class NoCache:
    """Computes each answer. It shows that an answer is the same when it is computed again."""

    def read(self, key: tuple[str, object], compute: Callable[[], Any], right: Any) -> Any:
        return compute()


class Never:
    """Never invalidates: it shows that a wrong answer is found."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, object], Any] = {}

    def read(self, key: tuple[str, object], compute: Callable[[], Any], right: Any) -> Any:
        if key not in self.answers:
            self.answers[key] = compute()
        return self.answers[key]


class Oracle(Never):
    """Misses only if the answer really has changed: no cache can have more hits."""

    def read(self, key: tuple[str, object], compute: Callable[[], Any], right: Any) -> Any:
        if key in self.answers and shown(self.answers[key]) != shown(right):
            del self.answers[key]
        return super().read(key, compute, right)


class Ours:
    """Each read is a recall, with nothing declared."""

    def read(self, key: tuple[str, object], compute: Callable[[], Any], right: Any) -> Any:
        from cachelayers import recall

        kind, about = key
        return recall(f"{kind}:{about}", compute)


class HandWritten:
    """Signals that delete keys, and timeouts for what no signal tells."""

    def __init__(self, site: Site, seconds: Callable[[], float]) -> None:
        """``seconds``: the site's clock."""
        from django.core.cache import caches

        self.cache, self.timeouts, self.seconds = caches["hand_written"], site.timeouts, seconds
        site.connect(self.forget)

    def forget(self, kind: str, about: object) -> None:
        self.cache.delete(f"{kind}:{about}")

    def read(self, key: tuple[str, object], compute: Callable[[], Any], right: Any) -> Any:
        kind, about = key
        name = f"{kind}:{about}"
        until, answer = self.cache.get(name, (0, None))
        if until <= self.seconds():
            answer = compute()
            until = self.seconds() + self.timeouts.get(kind, TIMEOUT)
            self.cache.set(name, (until, answer))
        return answer


CLASSES: dict[str, Callable[[], Contestant]] = {
    OURS: Ours,
    # They change the ORM: computing an answer asks them.
    CACHALOT: NoCache,
    CACHEOPS: NoCache,
    NO_CACHE: NoCache,
    ORACLE: Oracle,
    NEVER: Never,
}
