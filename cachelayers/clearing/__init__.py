"""What can be cleared and invalidated, under which names. Shared by commands and the admin."""
