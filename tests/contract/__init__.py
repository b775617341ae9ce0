"""The guarantees of every cache backend of this package, on every database."""
