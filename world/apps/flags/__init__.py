"""Functions that ask packages with a cache of their own."""
