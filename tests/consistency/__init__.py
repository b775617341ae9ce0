"""A checker of the promise: a hit reflects every write committed before its unit of work began."""
