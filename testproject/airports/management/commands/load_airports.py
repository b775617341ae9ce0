"""`manage.py load_airports`: load the airports of the world into the database."""

from time import perf_counter

from django.core.management.base import BaseCommand

from testproject.airports.loading import Outcome, load_airports


class Command(BaseCommand):
    help = (
        "Loads countries and airports from the airportsdata package. It can be run again at any "
        "time: it adds what is missing, corrects what differs, and keeps airports of your own."
    )

    def handle(self, *args: object, **options: object) -> None:
        start = perf_counter()
        countries, airports = load_airports()
        seconds = perf_counter() - start
        self.stdout.write(f"Countries: {describe(countries)}")
        self.stdout.write(f"Airports:  {describe(airports)}")
        self.stdout.write(self.style.SUCCESS(f"Up to date after {seconds:.1f} s."))


def describe(outcome: Outcome) -> str:
    return f"{outcome.added:,} added, {outcome.changed:,} changed, {outcome.unchanged:,} unchanged"
