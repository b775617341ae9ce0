"""Functions that use packages with a cache of their own."""
