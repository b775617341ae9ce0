"""SQL analysis: which tables a statement reads and writes."""
