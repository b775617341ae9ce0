"""Tests of the commands, called in the process and as a user runs them."""
