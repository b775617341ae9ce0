"""Kinds of sites: their readers, writers and disturbances, and a naive rule that each run detects.

Each kind is a run of its own, so that it has its own result.
"""

from __future__ import annotations

from dataclasses import dataclass

ALL = ("default", "postgres", "mariadb")
TRANSACTIONAL = ("default", "postgres")


@dataclass(frozen=True)
class Kind:
    """The roles of one run."""

    reader: str
    rule: str  # a naive one, with which the run must find something
    writer: str = "write"
    others: tuple[str, ...] = ()
    prepare: str = "prepare"
    clean: str = "clean"
    databases: tuple[str, ...] = ALL
    store: str = ""  # empty: in the database that is read


def of_slices(name: str, rule: str, databases: tuple[str, ...] = TRANSACTIONAL) -> Kind:
    """Return a kind whose readers read few rows each."""
    return Kind(
        f"read {name}",
        rule,
        writer=f"write {name}",
        prepare="prepare slices",
        clean="clean slices",
        databases=databases,
    )


KINDS = {
    "readers and writers": Kind("read", "late", databases=ALL),
    "pruned log": Kind("read", "late", others=("prune",), databases=TRANSACTIONAL),
    "moved log": Kind("read", "late", others=("move",), databases=TRANSACTIONAL),
    "several layers": Kind("read", "late", databases=TRANSACTIONAL, store="layers"),
    "forks": Kind("fork", "late", databases=TRANSACTIONAL),
    "requests in one transaction": Kind("atomic", "uncommitted"),
    "streams": Kind("stream", "read once"),
    "loaders": Kind("loader", "own context"),
    "tenants": Kind(
        "tenant",
        "threads",
        writer="write tenants",
        prepare="prepare tenants",
        clean="clean tenants",
        databases=TRANSACTIONAL,
    ),
    "swapped tables": Kind(
        "read loans",
        "unlogged schemas",
        writer="write loans",
        others=("swap",),
        prepare="prepare loans",
        clean="clean loans",
        databases=TRANSACTIONAL,  # on MariaDB a copy and a swap are not one transaction
    ),
    "partitions": Kind(
        "read loans",
        "unlogged schemas",
        writer="write loans",
        others=("partition",),
        prepare="prepare partitions",
        clean="clean loans",
        databases=("postgres",),
    ),
    "moved data": Kind(
        "read moved",
        "any log",
        writer="write moved",
        others=("move data",),
        prepare="prepare address",
        databases=TRANSACTIONAL,
        store="sqlite",  # which is not moved
    ),
    "moves between slices": of_slices("moves", "any key", ALL),
    "slugs that change hands": of_slices("slugs", "any key"),
    "joins": of_slices("joins", "one table", ALL),
    "IN": of_slices("IN", "any key"),
    "UNION": of_slices("UNION", "any key"),
    "soft deletes": of_slices("soft deletes", "or for and"),
    "counters": of_slices("counters", "no counters"),
}
