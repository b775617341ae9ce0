"""The URLs of the atlas."""

from django.urls import path, register_converter

from testproject.airports import views


class CountryCode:
    """Two letters, in either case; the view redirects to capitals."""

    regex = "[A-Za-z]{2}"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


class IcaoCode(CountryCode):
    """Four letters, digits or underscores."""

    regex = "[A-Za-z0-9_]{4}"


register_converter(CountryCode, "country_code")
register_converter(IcaoCode, "icao_code")

app_name = "airports"

urlpatterns = [
    path("", views.world, name="world"),
    path("country/<country_code:code>/", views.country, name="country"),
    path("airport/<icao_code:icao>/", views.airport, name="airport"),
    path("search/", views.search, name="search"),
]
