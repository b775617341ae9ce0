"""Run the checker's processes side by side, disturb them, and add up their findings."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from tests.consistency.kinds import Kind
from tests.forks import Forked, fork

PROGRAM = "tests.consistency.program"
SETTINGS = "tests.consistency.settings"


@dataclass
class Findings:
    """The sums over all readers."""

    hits: int = 0
    recalls: int = 0
    writes: int = 0
    pruned: int = 0
    moved: int = 0
    changed: int = 0  # tables
    killed: int = 0
    stale: list[list[Any]] = field(default_factory=list)
    unseen: list[list[Any]] = field(default_factory=list)
    leaked: list[list[Any]] = field(default_factory=list)

    def add(self, one: dict[str, Any]) -> None:
        """Add one process's findings."""
        for name in ("hits", "recalls", "writes", "pruned", "moved", "changed"):
            setattr(self, name, getattr(self, name) + one.get(name, 0))
        self.stale += one.get("stale", [])
        self.unseen += one.get("unseen", [])
        self.leaked += one.get("leaked", [])

    def include(self, other: Findings) -> None:
        """Add another run's findings."""
        for name in ("hits", "recalls", "writes", "pruned", "moved", "changed", "killed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.stale += other.stale
        self.unseen += other.unseen
        self.leaked += other.leaked

    @property
    def wrong(self) -> list[list[Any]]:
        """Return all wrong values."""
        return [*self.stale, *self.unseen, *self.leaked]

    @property
    def hit_rate(self) -> float:
        """Return the share of hits among the recalls."""
        return self.hits / max(self.recalls, 1)


class Checker:
    """The processes of one run."""

    def __init__(
        self,
        database: str,
        store: str,
        seconds: float,
        *,
        rule: str = "ours",
        redis: str = "",
        # seconds between two writes of one writer, in which values can be cached
        pause: float = 0.3,
    ) -> None:
        self.database, self.store, self.seconds, self.rule = database, store, seconds, rule
        self.environment = {"CACHELAYERS_CHECKER_REDIS": redis}
        self.environment["CACHELAYERS_CHECKER_PAUSE"] = str(pause)
        # A naive rule stores wrong values, which other runs must not use.
        self.environment["CACHELAYERS_CHECKER_STORE"] = store
        self.environment["CACHELAYERS_CHECKER_PREFIX"] = uuid4().hex[:8]
        self.running: list[tuple[str, Forked]] = []
        self.findings = Findings()
        self.end = 0.0
        self.kind = Kind("read", "late")

    def run(
        self, *, readers: int = 2, writers: int = 2, others: tuple[str, ...] = ()
    ) -> Callable[[], Findings]:
        """Start everything; the returned function waits for the end and returns the findings."""
        return self.run_kind(Kind("read", "late", others=others), readers=readers, writers=writers)

    def run_kind(self, kind: Kind, *, readers: int = 2, writers: int = 2) -> Callable[[], Findings]:
        """Run the roles of a kind."""
        self.kind = kind
        self.one(kind.prepare, 0)
        self.end = time.monotonic() + self.seconds
        for role in [kind.reader] * readers + [kind.writer] * writers + list(kind.others):
            self.start(role, self.seconds)
        return self.finish

    def finish(self) -> Findings:
        """Wait for all processes and add up."""
        try:
            for _, process in self.running:
                self.findings.add(answer_of(process))
        finally:
            for _, process in self.running:
                process.end()
            self.one(self.kind.clean, 0)
        return self.findings

    def kill_until_the_end(self, every: float, chance: random.Random) -> None:
        """Kill a reader or a writer from time to time."""
        while self.end - time.monotonic() > every:
            time.sleep(every)  # lifetime of each process: it is the time under test
            self.kill_one(chance)

    def kill_one(self, chance: random.Random) -> None:
        """Kill a process at once, and start another one for the rest of the time."""
        left = self.end - time.monotonic()
        index = chance.choice(
            [index for index, (role, _) in enumerate(self.running) if role not in self.kind.others]
        )
        role, process = self.running[index]
        process.end()
        self.findings.killed += 1
        del self.running[index]
        if left > 0:
            self.start(role, left)

    def start(self, role: str, seconds: float) -> None:
        """Start one process."""
        self.running.append((role, self.open(role, seconds)))

    def one(self, role: str, seconds: float) -> None:
        """Run one process to its end, by our rules, as later runs use its rows too."""
        answer_of(self.open(role, seconds, "ours"))

    def open(self, role: str, seconds: float, rule: str = "") -> Forked:
        rule = rule or self.rule
        arguments = [role, self.database, self.store, seconds, random.randrange(10**9), rule]
        return fork(PROGRAM, *arguments, settings=SETTINGS, **self.environment)


def answer_of(process: Forked) -> dict[str, Any]:
    """Wait for a process; return its findings, or raise its error output."""
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, f"{process.args!r} ended with {process.returncode}: {errors}"
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found
