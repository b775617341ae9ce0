"""An app of the tests' own: a model of each kind that caches have gone stale over."""
