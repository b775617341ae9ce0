import random
from typing import Any

from django.db import migrations, models

# A row stores the id of the transaction that writes it. A row copied from another log, by a
# data-only dump or by a publication, would have a meaningless id here.
POSTGRES = """
DELETE FROM cachelayers_invalidation;
ALTER TABLE cachelayers_invalidation DROP CONSTRAINT cachelayers_invalidation_pkey;
ALTER TABLE cachelayers_invalidation ALTER COLUMN position SET NOT NULL;
ALTER TABLE cachelayers_invalidation
    ADD CONSTRAINT cachelayers_log_position PRIMARY KEY USING INDEX cachelayers_log_position;
CREATE INDEX cachelayers_log_id ON cachelayers_invalidation (id);
CREATE FUNCTION cachelayers_log_leave_out() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER cachelayerslog_own_rows BEFORE INSERT ON cachelayers_invalidation FOR EACH ROW
    WHEN (NEW.position <> pg_current_xact_id()::text::bigint)
    EXECUTE FUNCTION cachelayers_log_leave_out();
ALTER TABLE cachelayers_invalidation ENABLE ALWAYS TRIGGER cachelayerslog_own_rows
"""
POSTGRES_BACK = """
DROP TRIGGER cachelayerslog_own_rows ON cachelayers_invalidation;
DROP FUNCTION cachelayers_log_leave_out();
DELETE FROM cachelayers_invalidation;
DROP INDEX cachelayers_log_id;
ALTER TABLE cachelayers_invalidation DROP CONSTRAINT cachelayers_log_position;
ALTER TABLE cachelayers_invalidation ALTER COLUMN position DROP NOT NULL;
ALTER TABLE cachelayers_invalidation ADD PRIMARY KEY (id);
CREATE UNIQUE INDEX cachelayers_log_position ON cachelayers_invalidation (position, tag)
"""


def begin_elsewhere(apps: Any, schema_editor: Any) -> None:
    """Restart the log, on MySQL with ids that no other database's log has.

    Then its rows do not collide with those of a data-only dump.
    """
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRES, None)
    if schema_editor.connection.vendor == "mysql":
        number = random.randrange(2**40, 2**50)  # noqa: S311 - not a secret
        schema_editor.execute(f"ALTER TABLE cachelayers_invalidation AUTO_INCREMENT = {number}")
    schema_editor.execute("DELETE FROM cachelayers_logstate")


def go_back(apps: Any, schema_editor: Any) -> None:
    """Restore the earlier state; the first reader restarts the log."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRES_BACK, None)
    schema_editor.execute("DELETE FROM cachelayers_logstate")


class Migration(migrations.Migration):
    dependencies = [
        ("cachelayers", "0005_permissions"),
    ]

    operations = [
        *(
            migrations.AlterModelManagers(name=name, managers=[("dumped", models.Manager())])
            for name in ("entry", "invalidation", "logstate", "warmerrun", "statistic", "timing")
        ),
        migrations.AddField(
            model_name="logstate",
            name="origin",
            field=models.CharField(
                db_default="",
                help_text="The server and database in which it began.",
                max_length=200,
                verbose_name="origin",
            ),
        ),
        migrations.RunPython(
            begin_elsewhere, go_back, hints={"model_name": "invalidation"}, atomic=False
        ),
    ]
