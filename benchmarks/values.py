"""The three kinds of measured values, each in many variants, because writes must change them.

Overwriting a value with an identical one is nearly free in most databases, and would distort the
figures.
"""

import random
from collections.abc import Callable
from typing import Any

KINDS = ("string", "dict", "html")
DESCRIPTIONS = {"string": "100 B string", "dict": "1 KB dict", "html": "20 KB of HTML"}
VARIANTS = 61  # a prime: pairs of keys and variants, taken in step, do not repeat soon

WORDS = ["runway", "tower", "gate", "harbour", "island", "mountain", "river", "desert"]
WORDS += ["elevation", "feet", "city", "capital", "region", "country", "border", "time zone"]


def build_values(kind: str) -> list[Any]:
    """Make the variants of a kind; the same on every run."""
    source = random.Random(f"{kind} of the benchmark")
    return [BUILDERS[kind](source) for _ in range(VARIANTS)]


def build_string(source: random.Random) -> str:
    return build_text(source, characters=100)


def build_dict(source: random.Random) -> dict[str, Any]:
    """Return an airport as a view would cache it: about 1,000 bytes when pickled."""
    return {
        "id": source.randrange(10**6),
        "name": build_text(source, characters=40),
        "latitude": source.uniform(-90, 90),
        "longitude": source.uniform(-180, 180),
        "tags": [source.choice(WORDS) for _ in range(10)],
        "nearest": [(source.randrange(10**6), source.random()) for _ in range(20)],
        "about": build_text(source, characters=480),
    }


def build_html(source: random.Random) -> str:
    html = ""
    while len(html) < 20_000:
        link = f'<a href="/{source.randrange(10**6)}/">{build_text(source, characters=60)}</a>'
        html += f'<tr class="airport"><td>{link}</td></tr>\n'
    return html[:20_000]


def build_text(source: random.Random, *, characters: int) -> str:
    text = ""
    while len(text) < characters:
        text += source.choice(WORDS) + " "
    return text[:characters]


BUILDERS: dict[str, Callable[[random.Random], Any]] = {
    "string": build_string,
    "dict": build_dict,
    "html": build_html,
}
