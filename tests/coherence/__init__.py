"""Several processes write and read one LayeredCache, while its layers are disturbed."""
