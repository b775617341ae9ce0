"""The views of the atlas, which read from the cache."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from testproject.airports import cached, queries
from testproject.airports.models import Airport, Country
from testproject.airports.texts import fold

SEARCH_LETTERS = 80  # longer input is cut
SEARCH_LETTERS_MIN = 2


def world(request: HttpRequest) -> HttpResponse:
    return render(request, "airports/world.html", {"html": cached.world_html()})


def country(request: HttpRequest, code: str) -> HttpResponse:
    if code != code.upper():
        return redirect("airports:country", code.upper(), permanent=True)
    facts = find_country(code)
    number = parse_page(request.GET.get("page", "1"), facts["pages"])
    context = {
        "country": facts,
        "number": number,
        "pages": page_numbers(number, facts["pages"]),
        "map_html": cached.country_map_html(code),
        "airports": queries.country_page(code, number),
    }
    return render(request, "airports/country.html", context)


def airport(request: HttpRequest, icao: str) -> HttpResponse:
    if icao != icao.upper():
        return redirect("airports:airport", icao.upper(), permanent=True)
    facts, heights = find_airport(icao), cached.heights()
    context = {
        "facts": facts,
        "airports": heights["airports"],
        "lower_percent": queries.lower_percent(facts["airport"]["elevation_feet"], heights),
        "nearby": cached.neighbourhood(icao),
    }
    return render(request, "airports/airport.html", context)


def search(request: HttpRequest) -> HttpResponse:
    """Show the results; with `part=results` only their list, which the script inserts."""
    typed = request.GET.get("q", "").strip()[:SEARCH_LETTERS]
    words = fold(typed.replace("\0", ""))
    context = {
        "typed": typed,
        "result": cached.search(words) if len(words) >= SEARCH_LETTERS_MIN else None,
        "is_too_short": 0 < len(words) < SEARCH_LETTERS_MIN,
        "shown": queries.SEARCH_ROWS,
    }
    is_part = request.GET.get("part") == "results"
    template = "airports/search_results.html" if is_part else "airports/search.html"
    return render(request, template, context)


# Pages that may not exist


def find_country(code: str) -> queries.CountryFacts:
    try:
        return cached.country(code)
    except Country.DoesNotExist:
        raise Http404(f"No country has the code {code}.") from None


def find_airport(icao: str) -> queries.AirportFacts:
    try:
        return cached.airport(icao)
    except Airport.DoesNotExist:
        raise Http404(f"No airport has the ICAO code {icao}.") from None


# Pages of a long list


def parse_page(text: str, last: int) -> int:
    """Raises Http404 for other pages than those of the list, which must not fill the cache."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 6 and 1 <= int(text) <= last):
        raise Http404(f"The list has pages 1 to {last}.")
    return int(text)


def page_numbers(number: int, last: int) -> list[int | None]:
    """Return the pages to offer; None stands for a gap.

    >>> page_numbers(5, 20)
    [1, None, 4, 5, 6, None, 20]
    """
    near = sorted({1, number - 1, number, number + 1, last} & set(range(1, last + 1)))
    offered: list[int | None] = []
    for before, page in zip([0, *near], near, strict=False):
        if page - before > 1:
            offered.append(None)
        offered.append(page)
    return offered
