"""The atlas as a Django app."""

from django.apps import AppConfig


class AirportsConfig(AppConfig):
    name = "testproject.airports"
    label = "airports"
    verbose_name = "Airports"
