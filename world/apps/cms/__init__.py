"""Pages written by editors."""
