"""The guarantees when a cache's database fails: misses, never an outage of the site."""
