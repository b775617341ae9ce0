"""Countries and their airports."""

from django.db import models
from django.urls import reverse

from testproject.airports.geography import FEET_PER_METRE, area_of, square_of
from testproject.airports.texts import fold


class Country(models.Model):
    code = models.CharField("ISO code", max_length=2, primary_key=True)
    name = models.CharField(max_length=80)

    class Meta:
        ordering = ("name",)
        verbose_name_plural = "countries"

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("airports:country", args=[self.code])


class Airport(models.Model):
    icao = models.CharField("ICAO code", max_length=4, unique=True)
    iata = models.CharField("IATA code", max_length=3, blank=True, db_index=True)
    name = models.CharField(max_length=120)
    city = models.CharField(max_length=80, blank=True)
    subdivision = models.CharField("state or region", max_length=80, blank=True)
    country = models.ForeignKey(Country, on_delete=models.PROTECT, related_name="airports")
    elevation_feet = models.IntegerField()
    latitude = models.FloatField(help_text="Degrees, north of the equator positive.")
    longitude = models.FloatField(help_text="Degrees, east of Greenwich positive.")
    time_zone = models.CharField(max_length=40)
    is_hub = models.BooleanField(
        "hub", default=False, help_text="Listed in the sitemap and marked on the maps."
    )
    search_text = models.CharField(max_length=250, editable=False)
    # The square of the globe that it is in. The nearest airports are looked for by this column, so
    # their list depends on the squares around, and not on every airport of the world.
    square = models.IntegerField(db_index=True, editable=False)

    class Meta:
        ordering = ("name", "icao")
        indexes = (
            models.Index(fields=["country", "name", "icao"], name="airport_by_country"),
            models.Index(fields=["elevation_feet"], name="airport_by_elevation"),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.icao})"

    def save(self, *args: object, **kwargs: object) -> None:
        self.fill_derived()
        super().save(*args, **kwargs)  # type: ignore[arg-type]  # handed on as they came

    def get_absolute_url(self) -> str:
        return reverse("airports:airport", args=[self.icao])

    @property
    def url(self) -> str:
        return self.get_absolute_url()

    def fill_derived(self) -> None:
        """Set the columns that follow from others."""
        self.search_text = self.make_search_text()
        self.square = square_of(self.latitude, self.longitude)

    def make_search_text(self) -> str:
        """Return its words without case and accents: SQLite ignores neither beyond ASCII."""
        return fold(f"{self.icao} {self.iata} {self.name} {self.city} {self.subdivision}")

    @property
    def elevation_metres(self) -> int:
        return round(self.elevation_feet / FEET_PER_METRE)

    @property
    def area(self) -> str:
        return area_of(self.time_zone)
