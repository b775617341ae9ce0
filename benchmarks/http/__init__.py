"""Requests to a new site, with the cache as README installs it."""
