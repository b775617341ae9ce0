"""Ticket lists of many tenants, in one set of tables with a foreign key to the tenant."""
