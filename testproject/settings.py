"""Settings of the demo site: SQLite files, memory and a table as one cache, no server needed."""

import os
from pathlib import Path
from typing import Any

from testproject.secret_key import read_or_create_secret_key

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("TESTPROJECT_DATA") or BASE_DIR / "var")
DATA_DIR.mkdir(parents=True, exist_ok=True)

DEBUG = os.environ.get("TESTPROJECT_DEBUG", "").lower() in {"1", "true", "yes", "on"}
SECRET_KEY = read_or_create_secret_key(DATA_DIR / "secret_key")
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = [
    "testproject.airports",
    "testproject.pages",
    "cachelayers",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.sitemaps",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "cachelayers.middleware.StaticCacheMiddleware",  # above what serves the files
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "testproject.middleware.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "testproject.urls"
WSGI_APPLICATION = "testproject.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]


def sqlite_database(file_name: str) -> dict[str, object]:
    """A SQLite database that several worker processes read and write at once."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / file_name,
        "CONN_MAX_AGE": 600,  # seconds
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            # A transaction that first reads and then writes is refused at once when another
            # one wrote in between, whatever the time-out; so each begins as a writer.
            "transaction_mode": "IMMEDIATE",
            "timeout": 10,  # seconds
        },
    }


# The cache has a file of its own: the two never wait for each other's locks, and the cache
# can be thrown away.
DATABASES = {
    "default": sqlite_database("site.sqlite3"),
    "cache": sqlite_database("cache.sqlite3"),
}
DATABASE_ROUTERS = ["cachelayers.routers.CacheRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# One cache of layers: what a worker has in memory it need not fetch, and what is in the table all
# workers share. The bus tells each worker's memory what the others have written: "log" is the table
# of invalidations, in the site's own database.
LAYERS, BUS = ["memory", "database"], "log"

# A Redis comes between the two, and is the bus: `make demo REDIS=yes` starts one and names it.
if REDIS_URL := os.environ.get("TESTPROJECT_REDIS"):
    LAYERS, BUS = ["memory", "redis", "database"], "redis"

CACHES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "cachelayers.backends.LayeredCache",
        "OPTIONS": {"LAYERS": LAYERS, "BUS": BUS},
    },
    "memory": {
        "BACKEND": "cachelayers.backends.MemoryCache",
        "OPTIONS": {"MAX_BYTES": 64 * 2**20},  # 64 MiB in each worker
    },
    "database": {
        "BACKEND": "cachelayers.backends.DatabaseCache",
        "LOCATION": "cache",
        "OPTIONS": {"MAX_BYTES": 256 * 2**20},  # 256 MiB
    },
}
if REDIS_URL:
    CACHES["redis"] = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": REDIS_URL}

# A change to any of their rows is seen by the next request, however it was made.
# Each fifth page and query is timed: the admin's screen "Advice" says what else to cache.
CACHELAYERS = {"TRACK": ["airports", "pages"], "ADVISE_SAMPLE": 0.2}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
# The templates name their files by {% hashed_static %}: the id of the content is in the URL. The
# manifest stays for what none of them names: the files of the admin, and those that stylesheets
# load by url().
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
