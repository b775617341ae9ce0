"""The guarantees of LayeredCache alone."""
