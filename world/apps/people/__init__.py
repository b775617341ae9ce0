"""Pages that show who is looking."""
