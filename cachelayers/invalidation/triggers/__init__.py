"""Triggers that log every write to a tracked table, whichever program writes.

`definitions` and the vendors' modules define them. `installing` installs and repairs them after
each migrate.
"""

from cachelayers.invalidation.triggers.definitions import OWN_NAME
from cachelayers.invalidation.triggers.installing import (
    TRIGGER_VENDORS,
    Guard,
    follow_schema,
    guarded_tables,
    has_triggers,
    install_triggers,
    read_guard,
    receive_post_migrate,
    receive_pre_migrate,
    remove_triggers,
    room_for_change,
)

__all__ = [
    "OWN_NAME",
    "TRIGGER_VENDORS",
    "Guard",
    "follow_schema",
    "guarded_tables",
    "has_triggers",
    "install_triggers",
    "read_guard",
    "receive_post_migrate",
    "receive_pre_migrate",
    "remove_triggers",
    "room_for_change",
]
