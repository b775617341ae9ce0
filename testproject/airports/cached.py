"""The cached functions of the atlas. They need no invalidation: a changed row does it.

They return figures and drawings. The texts around them are fragments of the templates.
"""

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from cachelayers import cached
from testproject.airports import queries

FACTS_TIMEOUT = 24 * 3600  # seconds
SEARCH_TIMEOUT = 600  # seconds; short, because users can enter any words


@cached(timeout=FACTS_TIMEOUT)
def world_html() -> SafeString:
    return render_to_string("airports/world_parts.html", {"world": queries.world()})


@cached(timeout=FACTS_TIMEOUT)
def country(code: str) -> queries.CountryFacts:
    """Raises Country.DoesNotExist for an unknown code."""
    return queries.country(code)


@cached(timeout=FACTS_TIMEOUT)
def country_map_html(code: str) -> SafeString:
    context = {"country": country(code), "map": queries.country_map(code)}
    return render_to_string("airports/country_map.html", context)


@cached(timeout=FACTS_TIMEOUT)
def airport(icao: str) -> queries.AirportFacts:
    """Raises Airport.DoesNotExist for an unknown code."""
    return queries.airport(icao)


@cached(timeout=FACTS_TIMEOUT)
def heights() -> queries.Heights:
    """One entry for all pages. A change of any airport ends it, and the pages' own entries stay."""
    return queries.heights()


@cached(timeout=FACTS_TIMEOUT)
def neighbourhood(icao: str) -> queries.Neighbourhood:
    """Raises Airport.DoesNotExist for an unknown code."""
    return queries.neighbourhood(icao)


@cached(timeout=SEARCH_TIMEOUT)
def search(words: str) -> queries.SearchResult:
    return queries.search(words)
