"""The SQL analysis: which tables and rows a statement reads and writes."""
