"""The suite: a package, so that benchmarks can import `tests.servers`."""
