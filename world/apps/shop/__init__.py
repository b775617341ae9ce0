"""A small shop, with tests as its author would write them."""
