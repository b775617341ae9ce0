"""Pages that show the current user."""
