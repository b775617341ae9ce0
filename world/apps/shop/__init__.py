"""A small shop, with the tests that its author wrote."""
