"""Tests of the operators' commands, called in the process and as a user runs them."""
