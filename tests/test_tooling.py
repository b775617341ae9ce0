"""What the suite's own servers promise, so that a red test elsewhere means what it says."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import environment, servers
from tests.servers import SERVERS, DatabaseServer, Memcached, Postgres, Redis, Server
from tests.servers.ports import first_outgoing_port

WAIT_SECONDS = 20.0

# A whole run in miniature: one test that needs a server.
TEST_THAT_NEEDS_REDIS = """
import pytest

@pytest.mark.redis
def test_redis(redis_url):
    assert redis_url
"""


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "It did not happen in time."
        time.sleep(0.02)


@contextmanager
def database_cursor(server: DatabaseServer) -> Iterator[Any]:
    """Open a connection as Django would, without naming it in the settings."""
    if isinstance(server, Postgres):
        import psycopg

        connection: Any = psycopg.connect(
            host="127.0.0.1", port=server.port, user="postgres", dbname="kept", autocommit=True
        )
    else:
        import MySQLdb

        connection = MySQLdb.connect(
            host="127.0.0.1", port=server.port, user="root", database="kept", autocommit=True
        )
    try:
        yield connection.cursor()
    finally:
        connection.close()


@pytest.fixture(
    params=[
        pytest.param("postgres", marks=pytest.mark.postgres),
        pytest.param("mariadb", marks=pytest.mark.mariadb),
    ]
)
def database_server(request: pytest.FixtureRequest) -> DatabaseServer:
    server: DatabaseServer = request.getfixturevalue(f"{request.param}_server")
    server.create_database("kept")
    return server


@pytest.mark.parametrize("end", [Server.stop, Server.kill])
def test_a_database_survives_a_restart_on_the_same_port(
    database_server: DatabaseServer, end: Callable[[Server], None]
) -> None:
    port = database_server.port
    with database_cursor(database_server) as cursor:
        cursor.execute("CREATE TABLE word (word varchar(9))")
        cursor.execute("INSERT INTO word VALUES ('kept')")

    end(database_server)
    was_stopped = not database_server.answers()
    database_server.start()

    with database_cursor(database_server) as cursor:
        cursor.execute("SELECT word FROM word")
        assert cursor.fetchall() in ([("kept",)], (("kept",),))
    assert was_stopped
    assert database_server.port == port


def test_redis_keeps_its_data_over_a_restart(redis_server: Redis) -> None:
    servers.ask_port(redis_server.port, b"SET word kept\r\n")

    redis_server.stop()
    redis_server.start()

    assert b"kept" in servers.ask_port(redis_server.port, b"GET word\r\n")


def test_a_paused_server_is_silent_until_it_is_resumed(memcached_server: Memcached) -> None:
    memcached_server.pause()

    was_silent = not memcached_server.answers()
    memcached_server.resume()

    assert was_silent
    assert memcached_server.answers()


def test_a_paused_server_can_be_stopped(redis_server: Redis) -> None:
    redis_server.pause()

    redis_server.stop()

    assert not redis_server.is_running


def test_a_server_removes_its_folder(memcached_server: Memcached) -> None:
    folder = memcached_server.folder

    memcached_server.remove()

    assert not folder.exists()


def test_a_server_does_not_take_another_for_itself(redis_server: Redis) -> None:
    other = Redis(environment.make_private_folder("redis"), port=redis_server.port)

    with pytest.raises(servers.ServerError, match="something else listens there"):
        other.start()


def test_a_server_that_cannot_start_shows_the_end_of_its_log(
    redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_server.stop()
    command = [*redis_server.command(), "--no-such-option", "yes"]
    monkeypatch.setattr(redis_server, "command", lambda: command)

    with pytest.raises(servers.ServerError, match="no-such-option"):
        redis_server.start()


@pytest.mark.redis
def test_no_server_outlives_its_killed_owner(run_python: Callable[..., Any]) -> None:
    folder = environment.make_private_folder("redis")
    owner = run_python(
        "import pathlib, sys; from tests.servers import Redis\n"
        "server = Redis(pathlib.Path(sys.argv[1])); server.start()\n"
        "print(server.port, flush=True); input()",
        folder,
    )
    port = int(owner.stdout.readline())
    answered = servers.ask_port(port, b"PING\r\n")

    os.kill(owner.pid, signal.SIGKILL)

    wait_until(lambda: not servers.ask_port(port, b"PING\r\n"))
    assert answered == b"+PONG\r\n"


def test_a_free_port_is_never_one_that_outgoing_connections_get() -> None:
    ports = {servers.find_free_port() for _ in range(50)}

    assert max(ports) < first_outgoing_port()
    assert len(ports) > 40


@pytest.mark.parametrize("name", SERVERS)
def test_a_missing_program_is_explained_with_its_package(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.servers.server.find_program", lambda program, folders: None)

    reason = servers.find_missing()[name]

    assert SERVERS[name].program in reason
    assert f"apt install {SERVERS[name].package}" in reason


# Runs of pytest within the test, each with a folder and servers of its own


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with the suite's foundation and one test, and nothing of Django's apps."""
    tests = tmp_path / "tests"
    tests.mkdir()
    for name in ("__init__", "conftest", "environment", "forks"):
        shutil.copy(Path(__file__).with_name(f"{name}.py"), tests)
    shutil.copytree(Path(__file__).with_name("servers"), tests / "servers")
    (tests / "settings.py").write_text(
        "from tests import environment\n"
        "environment.decide_once()\n"
        "SECRET_KEY = 'short'\n"
        "print('FOLDER', environment.run_folder())\n"
    )
    (tests / "test_one.py").write_text(TEST_THAT_NEEDS_REDIS)
    shutil.copy(environment.PROJECT / "pyproject.toml", tmp_path)
    return tmp_path


def start_pytest(checkout: Path, **variables: str) -> subprocess.Popen[str]:
    """Start a run that decides for itself, as if no other were under way."""
    own = ("CACHELAYERS_", "PYTEST_", "DJANGO_SETTINGS_MODULE")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider"],
        cwd=checkout,
        env={**inherited, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def hide_redis(checkout: Path) -> None:
    """Make this checkout look for a program that no machine has."""
    path = checkout / "tests" / "servers" / "stores.py"
    path.write_text(path.read_text().replace('"redis-server"', '"redis-nowhere"'))


def test_tests_of_a_missing_server_are_skipped_and_the_summary_says_why(checkout: Path) -> None:
    hide_redis(checkout)

    run = start_pytest(checkout)
    output, _ = run.communicate(timeout=WAIT_SECONDS)

    assert run.returncode == 0, output
    assert "1 skipped" in output.splitlines()[-1]
    last_lines = "\n".join(output.splitlines()[-4:])
    assert "redis: 1 tests did not run: the program redis-nowhere was not found" in last_lines


def test_a_missing_server_is_a_failure_where_servers_are_required(checkout: Path) -> None:
    hide_redis(checkout)

    run = start_pytest(checkout, CACHELAYERS_REQUIRE_SERVERS="1")
    output, _ = run.communicate(timeout=WAIT_SECONDS)

    assert run.returncode == 1, output
    assert "the program redis-nowhere was not found" in output


@pytest.mark.redis
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_server_and_no_folder(
    checkout: Path, number: signal.Signals
) -> None:
    (checkout / "tests" / "test_one.py").write_text(
        TEST_THAT_NEEDS_REDIS
        + "    print('PORT', redis_url, flush=True); import time; time.sleep(60)"
    )
    run = start_pytest(checkout)
    assert run.stdout is not None
    told = dict(told_words(run.stdout))
    port = int(told["PORT"].rpartition(":")[2])
    folder = Path(told["FOLDER"])
    answered = servers.ask_port(port, b"PING\r\n")

    run.send_signal(number)
    run.stdout.read()
    run.stdout.close()
    run.wait()

    wait_until(lambda: not servers.ask_port(port, b"PING\r\n"))
    wait_until(lambda: not folder.exists())
    assert answered == b"+PONG\r\n"


def told_words(output: Any) -> Iterator[tuple[str, str]]:
    """Read what the run says about itself, up to its server's port."""
    for line in output:
        for word in ("FOLDER", "PORT"):
            _, found, rest = line.partition(f"{word} ")
            if found:
                yield word, rest.strip()
        if "PORT " in line:
            return
