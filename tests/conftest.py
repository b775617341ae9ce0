"""Fixtures of the whole suite: databases and servers of the run's own, and every kind of cache."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from django.apps import apps
from django.core.cache import BaseCache, caches
from django.core.management import call_command
from django.core.management.commands import flush
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from pytest_django.plugin import DjangoDbBlocker

from cachelayers.test_runs import count_own_statements
from tests import environment
from tests.forks import Forked, fork
from tests.servers import SERVERS, MariaDB, Memcached, Postgres, Redis, ServerError

CACHE_ALIASES = [
    "sqlite",
    "sqlite_shared",
    "sqlite_memory",
    pytest.param("postgres", marks=pytest.mark.postgres),
    pytest.param("mariadb", marks=pytest.mark.mariadb),
]
# Databases that hold entries and nothing of the application.
OWN_DATABASES = {"sqlite_cache", "sqlite_memory"}
MISSING = "is missing"  # the words by which the summary finds the tests concerned

RunPython = Callable[..., subprocess.Popen[str]]
ForkPython = Callable[..., Forked]


# The run


def pytest_configure(config: pytest.Config) -> None:
    # A run in the background of a shell ignores Ctrl-C, and so would the commands that tests start
    # on a terminal and interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if environment.is_owner():
        environment.make_run_folder()
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(environment.run_folder().parent)
    environment.worker_folder().mkdir(exist_ok=True)
    count_own_statements()
    flush_without_permissions()


def flush_without_permissions() -> None:
    """Have the end of a transactional test keep content types and permissions.

    Making them again, for each app, would take most of its time. They do not change in tests.
    """

    def sql_flush_of_others(style: Any, connection: BaseDatabaseWrapper, **options: bool) -> Any:
        tables = connection.introspection.django_table_names(True, include_views=False)
        kept = {"django_content_type", "auth_permission"}
        return connection.ops.sql_flush(style, sorted({*tables} - kept), **options)

    def emit_of_the_package(verbosity: int, interactive: bool, db: str) -> None:
        # They need the apps, which a folder without our settings does not have.
        from cachelayers.backends import apply_storage_options
        from cachelayers.invalidation.triggers import receive_post_migrate

        sender = apps.get_app_config("cachelayers")
        apply_storage_options(sender, using=db)
        receive_post_migrate(sender, using=db)

    vars(flush).update(sql_flush=sql_flush_of_others, emit_post_migrate_signal=emit_of_the_package)


def pytest_unconfigure(config: pytest.Config) -> None:
    if environment.is_owner():
        environment.end_run()


# Tests that need a server


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by `-m`
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name in needed_servers(item):
            item.add_marker(name)
            item.add_marker("servers")


def needed_servers(item: pytest.Item) -> list[str]:
    """Return the names of the servers that a test is marked with, has a database or its own of."""
    fixtures = getattr(item, "fixturenames", ())
    django_db = item.get_closest_marker("django_db")
    databases = (django_db.kwargs.get("databases") or ()) if django_db else ()
    return [
        name
        for name in SERVERS
        if item.get_closest_marker(name) is not None
        or f"{name}_server" in fixtures
        or name in databases
    ]


@pytest.hookimpl(tryfirst=True)  # before any fixture
def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in needed_servers(item):
        if environment.server_port(name) is None:
            refuse = pytest.fail if environment.servers_are_required() else pytest.skip
            refuse(f"{name} {MISSING}: {SERVERS[name].explain_absence()}")


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around pytest's own, so that these lines are last
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter,
) -> Generator[None, None, None]:
    yield
    if lines := list(describe_missing_servers(terminalreporter)):
        terminalreporter.section("servers are missing", yellow=True)
        for line in lines:
            terminalreporter.line(line)
        terminalreporter.line("`make test` installs them where it may: as root, or with sudo.")


def describe_missing_servers(terminalreporter: pytest.TerminalReporter) -> Iterator[str]:
    """Say of each server that a chosen test has missed how many did, and why."""
    reports = [*terminalreporter.getreports("skipped"), *terminalreporter.getreports("error")]
    for name, server in SERVERS.items():
        count = sum(f"{name} {MISSING}" in str(report.longrepr) for report in reports)
        if count:
            yield f"{name}: {count} tests did not run: {server.explain_absence()}"


@pytest.fixture(scope="session")
def server_failures(request: pytest.FixtureRequest) -> dict[str, str]:
    """Start the run's servers that any chosen test needs; return why one did not start."""
    failures = {}
    for name in SERVERS:
        if environment.server_port(name) is None or not any(
            item.get_closest_marker(name) for item in request.session.items
        ):
            continue
        try:
            environment.start_shared_server(name)
        except ServerError as error:
            failures[name] = str(error)
    return failures


@pytest.fixture(autouse=True)
def _its_servers_run(request: pytest.FixtureRequest) -> None:
    names = needed_servers(request.node)
    if not names:
        return
    failures: dict[str, str] = request.getfixturevalue("server_failures")
    for name in names:
        if name in failures:
            pytest.fail(failures[name])


# Databases


@pytest.fixture(scope="session")
def django_db_setup(
    request: pytest.FixtureRequest,
    django_db_blocker: DjangoDbBlocker,
    server_failures: dict[str, str],
) -> Iterator[None]:
    """Migrate the worker's databases in place, those on servers only where a test needs them."""
    with django_db_blocker.unblock():
        for alias in connections:
            if alias not in SERVERS:
                migrate(alias)
            elif alias not in server_failures and is_needed(request.session, alias):
                environment.make_database(alias)
                migrate(alias)
    yield
    with django_db_blocker.unblock():
        connections.close_all()


def is_needed(session: pytest.Session, server_name: str) -> bool:
    return any(item.get_closest_marker(server_name) for item in session.items)


def migrate(alias: str) -> None:
    apps = ["cachelayers"] if alias in OWN_DATABASES else []
    # The tests' own app has no migrations.
    options = {} if apps else {"run_syncdb": True}
    call_command("migrate", *apps, database=alias, verbosity=0, interactive=False, **options)


# Caches


def empty_cache(alias: str) -> BaseCache:
    """Return a cache that is empty and takes values.

    One that failed slowly, as when the machine stood still in an earlier test, takes a pause.
    """
    cache = caches[alias]
    deadline = time.monotonic() + 20
    while True:
        cache.set("probe", "taken")
        is_taken = cache.get("probe") == "taken"
        cache.clear()
        if is_taken and not cache.has_key("probe"):
            return cache
        assert time.monotonic() < deadline, f"{alias} takes no values"
        time.sleep(0.05)


@pytest.fixture(params=CACHE_ALIASES)
def cache_alias(
    request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[str]:
    """Return the alias of a DatabaseCache, one of each kind of database, empty and usable."""
    alias: str = request.param
    with django_db_blocker.unblock():
        empty_cache(alias)
        yield alias
        caches[alias].close()


@pytest.fixture
def cache(cache_alias: str) -> BaseCache:
    """Return a DatabaseCache on each kind of database, empty."""
    return caches[cache_alias]


# Other processes


@pytest.fixture
def run_python() -> Iterator[RunPython]:
    """Return a function that starts Python on code or a module's name, with the run's databases.

    Its result is a `Popen` with text pipes, killed at the end of the test. The code calls
    `django.setup()` itself.
    """
    processes: list[subprocess.Popen[str]] = []

    def run(code_or_module: str, *arguments: object) -> subprocess.Popen[str]:
        is_module = re.fullmatch(r"\w+(\.\w+)*", code_or_module) is not None
        process = subprocess.Popen(
            [sys.executable, "-m" if is_module else "-c", code_or_module, *map(str, arguments)],
            cwd=environment.PROJECT,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        end_process(process)


@pytest.fixture
def fork_python() -> Iterator[ForkPython]:
    """Return `fork`, which starts a process in a moment; each is killed at the end of the test."""
    with contextlib.ExitStack() as processes:

        def start(module_or_code: str, *arguments: object, **options: str) -> Forked:
            process = fork(module_or_code, *arguments, **options)
            processes.callback(process.end)
            return process

        yield start


def end_process(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        with contextlib.suppress(BrokenPipeError):  # input that the process did not live to read
            if pipe is not None:
                pipe.close()


# Servers of a test's own, to stop, kill and pause


@pytest.fixture
def postgres_server() -> Iterator[Postgres]:
    with Postgres(environment.make_private_folder("postgres")) as server:
        yield server


@pytest.fixture
def mariadb_server() -> Iterator[MariaDB]:
    with MariaDB(environment.make_private_folder("mariadb")) as server:
        yield server


@pytest.fixture
def redis_server() -> Iterator[Redis]:
    with Redis(environment.make_private_folder("redis")) as server:
        yield server


@pytest.fixture
def memcached_server() -> Iterator[Memcached]:
    with Memcached(environment.make_private_folder("memcached")) as server:
        yield server


@pytest.fixture
def redis_url() -> str:
    """Return where the run's Redis is; the test bears the mark `redis`."""
    return f"redis://127.0.0.1:{environment.server_port('redis')}"


@pytest.fixture
def memcached_address() -> str:
    """Return where the run's memcached is; the test bears the mark `memcached`."""
    return f"127.0.0.1:{environment.server_port('memcached')}"
