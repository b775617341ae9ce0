"""Tests of the counts of caches: how they are added up and shown."""
