"""Tests of the demo site in a real browser."""
