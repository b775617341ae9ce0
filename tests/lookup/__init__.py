"""Tests of the main flow and of its door in Python, @cached."""
