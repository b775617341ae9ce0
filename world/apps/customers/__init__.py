"""Customers with a site each, in their own schema."""
