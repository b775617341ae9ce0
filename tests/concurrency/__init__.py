"""The guarantees for threads and processes that use a cache at the same time."""
