"""A Django cache in one database table: on SQLite, PostgreSQL, MariaDB and MySQL."""

from cachelayers.backends.database.cache import DatabaseCache

__all__ = ["DatabaseCache"]
