"""What the cache promises to threads and processes that use it at the same time."""
