"""Triggers that log every write to a tracked table, whoever makes it.

`definitions` and the vendors' modules say what they are; `installing` keeps the database as it
should be after each migrate.
"""

from cachelayers.invalidation.triggers.installing import (
    guarded_tables,
    install_triggers,
    receive_post_migrate,
    receive_pre_migrate,
    remove_triggers,
)

__all__ = [
    "guarded_tables",
    "install_triggers",
    "receive_post_migrate",
    "receive_pre_migrate",
    "remove_triggers",
]
