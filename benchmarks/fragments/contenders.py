"""The same list of airports, cached with each contender's tags in the way its users write them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.peers import is_importable

if TYPE_CHECKING:  # they need settings
    from django.db.models import QuerySet
    from django.template import Template

    from testproject.airports.models import Airport

# A row of the demo's list, with the attributes that its page shows in the header.
ROW = """{{ note_row }}<article>
  <h3><a href="/airport/{{ airport.icao }}/">{{ airport.name }}</a>{% if airport.is_hub %} <span class="hub">hub</span>{% endif %}</h3>
  <p>{% if airport.city %}{{ airport.city }}, {% endif %}{% if airport.subdivision and airport.subdivision != airport.city %}{{ airport.subdivision }}, {% endif %}{{ airport.country.name }}</p>
  <dl class="facts">
    <div><dt>ICAO code</dt><dd><span class="code strong">{{ airport.icao }}</span></dd></div>
    <div><dt>IATA code</dt><dd>{% if airport.iata %}<span class="code strong">{{ airport.iata }}</span>{% else %}none{% endif %}</dd></div>
    <div><dt>Elevation</dt><dd>{{ airport.elevation_feet|thousands }} ft <span class="quiet">{{ airport.elevation_metres|thousands }} m</span></dd></div>
    <div><dt>Position</dt><dd>{{ airport.latitude }}°, {{ airport.longitude }}°</dd></div>
    <div><dt>Time zone</dt><dd>{{ airport.time_zone }}</dd></div>
    <div><dt>Part of the world</dt><dd>{{ airport.area }}</dd></div>
  </dl>
</article>"""  # noqa: E501 (as a template is written)
LIST = "{{ note_list }}<section>%s</section>"
LOOP = "{%% for airport in airports %%}%s{%% endfor %%}"

# Global functions: a closure might keep objects that were read before.
_renders = {"rows": 0, "lists": 0}


def note_row() -> str:
    """Count a rendered row; render nothing."""
    _renders["rows"] += 1
    return ""


def note_list() -> str:
    """Count a rendered list; render nothing."""
    _renders["lists"] += 1
    return ""


def take_renders() -> tuple[int, int]:
    """Return how many rows and lists were rendered since the last call."""
    taken = _renders["rows"], _renders["lists"]
    _renders.update(rows=0, lists=0)
    return taken


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to cache rows, and a list of them; empty texts: it has none."""

    name: str
    load: str = "atlas"
    loop: str = LOOP % "ROW"  # ROW stands for a row's markup, ALIAS for the cache
    around: str = "LIST"  # LIST stands for the markup of the cached list
    has_units: bool = False
    needs: str = "django"  # a module

    def unit(self) -> AbstractContextManager[Any]:
        """Return a request's unit of work, if the contender has one."""
        if not self.has_units:
            return nullcontext()
        from cachelayers import unit_of_work

        return unit_of_work()

    def rows(self, alias: str) -> Template:
        """Return a template of cached rows."""
        return self._compile(self.loop, alias)

    def nested(self, alias: str) -> Template:
        """Return a template of a cached list of cached rows."""
        return self._compile(self.around.replace("LIST", LIST % self.loop), alias)

    def _compile(self, source: str, alias: str) -> Template:
        from django.template import Template

        load = f"{{% load {self.load} %}}"
        return Template(load + source.replace("ROW", ROW).replace("ALIAS", alias))


NOTHING = Contender("no cache")
# A key must contain the state of its row: a column with the time of its last change, or all values
# shown. Here the list has a version, which the view increments after saving.
DJANGO = Contender(
    "{% cache %}",
    load="atlas cache",
    loop=LOOP % '{% cache 86400 row airport.pk airport.name using="ALIAS" %}ROW{% endcache %}',
    around='{% cache 86400 list version using="ALIAS" %}LIST{% endcache %}',
)
ADV_CACHE = Contender(
    "adv-cache-tag",
    load="atlas adv_cache",
    loop=LOOP % "{% cache 86400 advrow airport.pk airport.name using=ALIAS %}ROW{% endcache %}",
    around="{% cache 86400 advlist version using=ALIAS %}LIST{% endcache %}",
    needs="adv_cache_tag",
)
LIST_FRAGMENT = '{% fragment "%NAME%" timeout=86400 using="ALIAS" %}LIST{% endfragment %}'
FRAGMENT = Contender(
    "{% fragment %}",
    load="atlas cachelayers",
    loop=LOOP % '{% fragment "row" airport timeout=86400 using="ALIAS" %}ROW{% endfragment %}',
    around=LIST_FRAGMENT.replace("%NAME%", "list"),
    has_units=True,
)
FRAGMENTS = Contender(
    "{% fragments %}",
    load="atlas cachelayers",
    loop='{% fragments "item" for airport in airports timeout=86400 using="ALIAS" %}'
    "ROW{% endfragments %}",
    around=LIST_FRAGMENT.replace("%NAME%", "bulk list"),
    has_units=True,
)
CONTENDERS = (DJANGO, FRAGMENT, FRAGMENTS, ADV_CACHE, NOTHING)


def present_contenders() -> tuple[list[Contender], dict[str, str]]:
    """Return the contenders that can be measured here, and the reasons why others cannot."""
    present = [each for each in CONTENDERS if is_importable(each.needs)]
    absent = {
        each.name: f"not installed: {each.needs}" for each in CONTENDERS if each not in present
    }
    return present, absent


def list_airports() -> QuerySet[Airport]:
    """Return the rows as an unevaluated queryset."""
    from testproject.airports.models import Airport

    return Airport.objects.select_related("country").order_by("icao")


def names(airports: Any, version: int = 0) -> dict[str, Any]:
    """Return the template's context."""
    functions: dict[str, Callable[[], str]] = {"note_row": note_row, "note_list": note_list}
    return {"airports": airports, "version": version, **functions}
