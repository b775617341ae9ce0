"""Every name under which the atlas keeps something in the cache, and how long.

All of them hold the atlas's generation: any change to an airport or a country renews it, and
everything that was made before is out of sight at once.
"""

from hashlib import sha256

from testproject.generations import Generation

atlas = Generation("atlas")

FACTS_TIMEOUT = 24 * 3600  # seconds
SEARCH_TIMEOUT = 600  # seconds; visitors make these keys up, so they go soon

# The templates' fragments, {% cache FACTS_TIMEOUT <name> generation ... %}:
#   atlas-world          generation
#   atlas-country-map    generation, country code
#   atlas-country-list   generation, country code, page number


def country(code: str) -> str:
    return f"atlas:{atlas.current()}:country:{code}"


def airport(icao: str) -> str:
    return f"atlas:{atlas.current()}:airport:{icao}"


def search(words: str) -> str:
    # Hashed: what people type may be long, and may hold letters that memcached refuses.
    return f"atlas:{atlas.current()}:search:{sha256(words.encode()).hexdigest()}"
