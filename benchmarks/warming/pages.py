"""Print the paths of airports' pages: `python -m benchmarks.warming.pages NUMBER`."""

import sys

import django


def main() -> None:
    """Print NUMBER paths, the same in every run."""
    django.setup()
    from django.urls import reverse

    from testproject.airports.models import Airport

    codes = Airport.objects.order_by("icao").values_list("icao", flat=True)
    for code in codes[: int(sys.argv[1])]:
        print(reverse("airports:airport", args=[code]))


if __name__ == "__main__":
    main()
