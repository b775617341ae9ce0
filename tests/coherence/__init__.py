"""Several processes write and read one LayeredCache, while faults occur in its layers."""
