"""Admin pages of countries and airports."""

from typing import TYPE_CHECKING

from django.contrib import admin

from testproject.airports.models import Airport, Country

if TYPE_CHECKING:
    CountryAdminBase = admin.ModelAdmin[Country]
    AirportAdminBase = admin.ModelAdmin[Airport]
else:
    CountryAdminBase = AirportAdminBase = admin.ModelAdmin


@admin.register(Country)
class CountryAdmin(CountryAdminBase):
    list_display = ("name", "code")
    search_fields = ("name", "code")


@admin.register(Airport)
class AirportAdmin(AirportAdminBase):
    list_display = ("name", "icao", "iata", "city", "country", "elevation_feet", "is_hub")
    list_filter = ("is_hub",)
    list_select_related = ("country",)
    search_fields = ("name", "city", "=icao", "=iata", "country__name")
    autocomplete_fields = ("country",)
    fieldsets = (
        (None, {"fields": ("name", ("icao", "iata"), "is_hub")}),
        ("Place", {"fields": ("city", "subdivision", "country", "time_zone")}),
        ("Position", {"fields": (("latitude", "longitude"), "elevation_feet")}),
    )
