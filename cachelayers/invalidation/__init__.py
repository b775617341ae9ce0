"""When an entry stops being true: tags, the log, triggers, capture, units of work."""
