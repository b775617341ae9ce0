"""Clearing and invalidating by name, for the commands and the admin.

`names` checks the names of tags, fragments, models and aliases; `plans` clears aliases.
"""

from cachelayers.clearing.names import (
    FRAGMENT,
    UnknownName,
    alias_named,
    check_fragment,
    check_fragment_syntax,
    check_known_tag,
    check_tag_syntax,
    goes_into_sessions,
    known_fragments,
    known_tags,
    model_named,
    session_heads,
    session_keys,
)
from cachelayers.clearing.plans import (
    Cleared,
    Clearing,
    ClearingError,
    plan_clear,
    plan_expired,
    plan_log,
    plan_prefix,
    plan_static,
    plan_unused,
    warnings_for,
)

__all__ = [
    "FRAGMENT",
    "Cleared",
    "Clearing",
    "ClearingError",
    "UnknownName",
    "alias_named",
    "check_fragment",
    "check_fragment_syntax",
    "check_known_tag",
    "check_tag_syntax",
    "goes_into_sessions",
    "known_fragments",
    "known_tags",
    "model_named",
    "plan_clear",
    "plan_expired",
    "plan_log",
    "plan_prefix",
    "plan_static",
    "plan_unused",
    "session_heads",
    "session_keys",
    "warnings_for",
]
