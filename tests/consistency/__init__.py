"""A checker of the promise: no hit is older than what had been committed when its unit began."""
