"""The site on which fragments are measured: Django with a list of airports and several caches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.machines import CacheRedis, RoomyMemcached, close_connections
from benchmarks.peers import is_importable
from tests.servers import Server, find_missing

ROWS = 100  # of the list
REDIS = "redis"
# By alias: the name in the tables.
STORES = {
    "locmem": "LocMemCache",
    "memory": "MemoryCache",
    "layered": "memory+table",
    REDIS: "django-redis",
    "memcached": "PyMemcacheCache",
    "table": "DatabaseCache, SQLite",
}
SERVERS: Mapping[str, tuple[type[Server], str]] = {
    REDIS: (CacheRedis, "django_redis"),
    "memcached": (RoomyMemcached, "pymemcache"),
}


@contextmanager
def made_world() -> Iterator[dict[str, str]]:
    """Start servers, set Django up, add the rows; yield the reasons for missing servers."""
    missing = missing_servers()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="cachelayers-bench-")))
        ports = {
            store: stack.enter_context(make_server(durable=True)).port
            for store, (make_server, _) in SERVERS.items()
            if store not in missing
        }
        configure(folder, ports)
        stack.callback(close_connections)
        add_rows()
        yield missing


def missing_servers() -> dict[str, str]:
    """Return the stores that cannot be measured here, with the reasons."""
    absent = find_missing()
    without_client = {
        store: f"not installed: {client}"
        for store, (_, client) in SERVERS.items()
        if not is_importable(client)
    }
    return {store: absent[store] for store in SERVERS if store in absent} | without_client


def configure(folder: Path, ports: Mapping[str, int]) -> None:
    """Set Django up, with its tables."""
    import django
    from django.conf import settings
    from django.core.management import call_command

    settings.configure(
        CACHELAYERS={"TRACK": ["airports"]},
        CACHES=caches_on(ports),
        DATABASES={name: sqlite(folder, name) for name in ("default", "cache")},
        DATABASE_ROUTERS=["cachelayers.routers.CacheRouter"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=[
            *("cachelayers", "testproject.airports"),
            *(["adv_cache_tag"] if is_importable("adv_cache_tag") else []),
        ],
        ROOT_URLCONF="testproject.airports.urls",
        SECRET_KEY="a benchmark keeps no secrets",
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
        USE_TZ=True,
    )
    django.setup()
    for name in settings.DATABASES:
        call_command("migrate", database=name, verbosity=0)


def caches_on(ports: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Return CACHES; none may evict entries of the run."""
    found: dict[str, dict[str, Any]] = {
        "default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
        "locmem": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "OPTIONS": {"MAX_ENTRIES": 100_000},
        },
        "memory": {"BACKEND": "cachelayers.backends.MemoryCache"},
        "upper": {"BACKEND": "cachelayers.backends.MemoryCache"},
        "layered": {
            "BACKEND": "cachelayers.backends.LayeredCache",
            "OPTIONS": {"LAYERS": ["upper", "table"], "BUS": "log"},
        },
        "table": {"BACKEND": "cachelayers.backends.DatabaseCache", "LOCATION": "cache"},
    }
    if port := ports.get(REDIS):
        url = f"redis://127.0.0.1:{port}/0"
        found[REDIS] = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}
    if port := ports.get("memcached"):
        found["memcached"] = {
            "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
            "LOCATION": f"127.0.0.1:{port}",
        }
    return found


def sqlite(folder: Path, name: str) -> dict[str, Any]:
    """Return a database in a file."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": folder / f"{name}.sqlite3",
        "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"},
    }


def add_rows() -> None:
    """Add a country with as many airports as the list shows."""
    from testproject.airports.models import Airport, Country

    Country.objects.create(code="FR", name="France")
    Airport.objects.bulk_create(
        Airport(
            icao=f"LF{number:02}",
            iata="CDG" if number % 3 == 0 else "",
            name=f"Aérodrome de Villeneuve {number}",
            city="Villeneuve-sur-Lot",
            subdivision="Nouvelle-Aquitaine",
            country_id="FR",
            elevation_feet=300 + 7 * number,
            latitude=44.4 + number / 100,
            longitude=0.7,
            square=0,
            time_zone="Europe/Paris",
            is_hub=number % 20 == 0,
        )
        for number in range(ROWS)
    )
