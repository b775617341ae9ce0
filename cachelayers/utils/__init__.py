"""Helpers for every package. They import none of the packages that use them."""
