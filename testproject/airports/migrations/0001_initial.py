import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Country",
            fields=[
                (
                    "code",
                    models.CharField(
                        max_length=2, primary_key=True, serialize=False, verbose_name="ISO code"
                    ),
                ),
                ("name", models.CharField(max_length=80)),
            ],
            options={
                "verbose_name_plural": "countries",
                "ordering": ("name",),
            },
        ),
        migrations.CreateModel(
            name="Airport",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("icao", models.CharField(max_length=4, unique=True, verbose_name="ICAO code")),
                (
                    "iata",
                    models.CharField(
                        blank=True, db_index=True, max_length=3, verbose_name="IATA code"
                    ),
                ),
                ("name", models.CharField(max_length=120)),
                ("city", models.CharField(blank=True, max_length=80)),
                (
                    "subdivision",
                    models.CharField(blank=True, max_length=80, verbose_name="state or region"),
                ),
                ("elevation_feet", models.IntegerField()),
                (
                    "latitude",
                    models.FloatField(help_text="Degrees, north of the equator positive."),
                ),
                ("longitude", models.FloatField(help_text="Degrees, east of Greenwich positive.")),
                ("time_zone", models.CharField(max_length=40)),
                (
                    "is_hub",
                    models.BooleanField(
                        default=False,
                        help_text="Listed in the sitemap and marked on the maps.",
                        verbose_name="hub",
                    ),
                ),
                ("search_text", models.CharField(editable=False, max_length=250)),
                (
                    "country",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="airports",
                        to="airports.country",
                    ),
                ),
            ],
            options={
                "ordering": ("name", "icao"),
                "indexes": [
                    models.Index(fields=["country", "name", "icao"], name="airport_by_country"),
                    models.Index(fields=["elevation_feet"], name="airport_by_elevation"),
                ],
            },
        ),
    ]
