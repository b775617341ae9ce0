"""Decide whether an entry is still valid: tags, the log, triggers, dependencies, units of work."""
