"""Measure the caches against their peers, side by side in one run: `make bench`."""
