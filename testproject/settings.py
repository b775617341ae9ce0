"""Settings of the demo site: SQLite files, and a cache of memory and a table, without servers."""

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
    "cachelayers.middleware.StaticCacheMiddleware",  # before the middleware that serves the files
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
    """Return an SQLite database that several worker processes can read and write."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / file_name,
        "CONN_MAX_AGE": 600,  # seconds
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            # SQLite refuses a write at once if the transaction has read before and another one
            # wrote in between, whatever the timeout. So each transaction begins as a writer.
            "transaction_mode": "IMMEDIATE",
            "timeout": 10,  # seconds
        },
    }


# The cache has its own file, so that the databases never wait for each other's locks, and the cache
# can be deleted.
DATABASES = {
    "default": sqlite_database("site.sqlite3"),
    "cache": sqlite_database("cache.sqlite3"),
}
DATABASE_ROUTERS = ["cachelayers.routers.CacheRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# A cache with two layers: the memory of a worker, and a table that all workers share. The bus
# publishes the writes to the other workers' memories: "log" is the table of invalidations in the
# site's database.
LAYERS, BUS = ["memory", "database"], "log"

# Redis is a layer between the two, and the bus. `make demo REDIS=yes` starts one and sets this.
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

# The next request sees a change to any of their rows, however it was made. Every fifth page and
# query is timed: the admin's screen "Advice" shows what else to cache.
CACHELAYERS = {"TRACK": ["airports", "pages"], "ADVISE_SAMPLE": 0.2}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
# The templates name their files by {% hashed_static %}, so the content id is in the URL. The
# manifest is for other files: those of the admin, and those in stylesheets.
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
