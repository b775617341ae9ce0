"""Django's settings in the tests, in each pytest worker and in the programs that tests start."""

from __future__ import annotations

from typing import Any

from tests import environment
from tests.servers import mariadb_settings, postgres_settings

environment.decide_once()
FOLDER = environment.worker_folder()

SECRET_KEY = "the tests' own secret key, long enough for every check of Django's"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "testserver"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "testproject.urls"
STATIC_URL = "/static/"
STATIC_ROOT = FOLDER / "static"
MEDIA_ROOT = FOLDER / "media"
# Quick and weak: the tests log in, and have no password to protect.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.sitemaps",
    "django.contrib.staticfiles",
    "cachelayers",
    "testproject.airports",
    "testproject.pages",
    "tests.library",
    "tests.programs",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [environment.PROJECT / "testproject" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


def sqlite_settings(name: object) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(name),
        "OPTIONS": {"timeout": 20},
        "TEST": {"NAME": str(name)},  # it is one already
    }


def server_databases() -> dict[str, dict[str, Any]]:
    """Return the databases on servers, as far as the servers can be had."""
    name = environment.database_name()
    settings_by_server = {"postgres": postgres_settings, "mariadb": mariadb_settings}
    return {
        server: make_settings(port, name)
        for server, make_settings in settings_by_server.items()
        if (port := environment.server_port(server)) is not None
    }


# No test_ names: the databases are the worker's own, and other processes have to find them.
DATABASES = {
    "default": sqlite_settings(FOLDER / "site.sqlite3"),
    "sqlite_cache": sqlite_settings(FOLDER / "cache.sqlite3"),
    # As Django's own test runner names it: shared by the threads of one process.
    "sqlite_memory": sqlite_settings("file:cachelayers_memory?mode=memory&cache=shared"),
    **server_databases(),
}


def database_cache(database: str) -> dict[str, Any]:
    return {"BACKEND": "cachelayers.backends.DatabaseCache", "LOCATION": database}


def layered_cache(*layers: str, bus: str | None = None) -> dict[str, Any]:
    return {
        "BACKEND": "cachelayers.backends.LayeredCache",
        "OPTIONS": {"LAYERS": list(layers), "BUS": bus},
    }


def patient(configured: dict[str, Any]) -> dict[str, Any]:
    """Return a stack that skips no layer because a busy machine is slow."""
    return {**configured, "OPTIONS": {**configured["OPTIONS"], "TIME_LIMIT": 10}}


def memory_cache() -> dict[str, Any]:
    return {"BACKEND": "cachelayers.backends.MemoryCache"}


def server_caches() -> dict[str, dict[str, Any]]:
    """Return the caches on servers, and the stacks of layers that need one."""
    found: dict[str, dict[str, Any]] = {
        server: database_cache(server) for server in server_databases()
    }
    if port := environment.server_port("redis"):
        # A database each: tests that look into one find nobody else's keys.
        number = environment.worker_number()
        url = f"redis://127.0.0.1:{port}"
        found["redis"] = {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"{url}/{number}",
            "OPTIONS": {"SERIALIZER": "django_redis.serializers.pickle.PickleSerializer"},
        }
        found["core_redis"] = {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": f"{url}/{number}",
            "KEY_PREFIX": "core",
        }
        found["redis_table"] = patient(layered_cache("redis", "sqlite", bus="redis"))
        found["core_redis_table"] = patient(layered_cache("core_redis", "sqlite"))
        if "postgres" in found:
            found["memory_redis_postgres"] = patient(
                layered_cache("memory", "redis", "postgres", bus="redis")
            )
    if port := environment.server_port("memcached"):
        found["memcached"] = {
            "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
            "LOCATION": f"127.0.0.1:{port}",
            "KEY_PREFIX": environment.worker_name(),
        }
        found["memory_memcached"] = patient(layered_cache("memory", "memcached"))
        found["memcached_files"] = patient(layered_cache("memcached", "files"))
    return found


CACHES = {
    "default": database_cache("sqlite_cache"),
    "sqlite": database_cache("sqlite_cache"),
    "sqlite_shared": database_cache("default"),  # in the file of the application's tables
    "sqlite_memory": database_cache("sqlite_memory"),
    "memory": memory_cache(),
    "memory_table": patient(layered_cache("memory", "sqlite", bus="log")),
    # Without a bus, whose writes would have the processes wait for each other.
    "memory_table_alone": patient(layered_cache("memory", "sqlite")),
    "files": {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": str(FOLDER / "files"),
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    },
    "diskcache": {
        "BACKEND": "diskcache.DjangoCache",
        "LOCATION": str(FOLDER / "diskcache"),
        "SHARDS": 2,
    },
    "memory_diskcache": patient(layered_cache("memory", "diskcache")),
    **server_caches(),
}

CACHELAYERS: dict[str, Any] = {
    "LOG_SECONDS": 10,  # a busy machine is no reason to do without the log
    "TRACK": [
        *("airports", "pages", "programs"),
        *(
            "library.Author",
            "library.Book",
            "library.Subject",
            "library.Branch",
            "library.Card",
            "library.Essay",
            "library.Loan",
        ),
    ],
    # The programs that tests start write none, but where they are what is tested.
    "STATS_SECONDS": None,
}
