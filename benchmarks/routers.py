"""Send each peer's table to its own database. Named in DATABASE_ROUTERS of the benchmarks."""

from __future__ import annotations

from typing import Any

PEER_APP_LABELS = {"django_cache", "django_mysql"}


class PeerTableRouter:
    """Route by the table's name, `<peer>__<database>`: one process measures several databases.

    Django's backend and MySQLCache only have a table name, and ask the routers for its database.
    """

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        """Return the database in the table's name."""
        options = model._meta
        if options.app_label not in PEER_APP_LABELS:
            return None
        return str(options.db_table).split("__")[1]

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        """Let the peers' tables be made on any database of the run."""
        return True if app_label in PEER_APP_LABELS else None
