from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from testproject.airports.geography import square_of


def fill_squares(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    airports = apps.get_model("airports", "Airport").objects.using(schema_editor.connection.alias)
    found = list(airports.only("pk", "latitude", "longitude"))
    for airport in found:
        airport.square = square_of(airport.latitude, airport.longitude)
    airports.bulk_update(found, ["square"], batch_size=1000)


class Migration(migrations.Migration):
    dependencies = [("airports", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="airport",
            name="square",
            field=models.IntegerField(db_index=True, default=0, editable=False),
            preserve_default=False,
        ),
        migrations.RunPython(fill_squares, migrations.RunPython.noop, elidable=True),
    ]
