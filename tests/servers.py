"""Start real servers on free loopback ports, and stop, kill or pause them. Imports no pytest.

with Postgres() as server:
    settings.DATABASES["postgres"] = server.database_settings()
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

HOST = "127.0.0.1"
START_SECONDS = 60.0  # a busy machine; a healthy server answers within two
STOP_SECONDS = 30.0
LOG_LINES = 20  # of a server's log, shown when it does not start
KEEPER = Path(__file__).with_name("keeper.py")
# Debian keeps servers where an ordinary user's PATH does not look.
MORE_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/usr/libexec", "/sbin")


class ServerError(Exception):
    """A server is missing, or did not start or stop."""


class Server(ABC):
    """One server process with a folder and a port of its own, the same after each restart."""

    name: ClassVar[str]
    program: ClassVar[str]
    package: ClassVar[str]  # Debian's
    accounts: ClassVar[tuple[str, ...]] = ("nobody",)  # what it runs as when root starts it

    def __init__(
        self,
        folder: Path | None = None,
        *,
        port: int | None = None,
        durable: bool = False,
        owner_pid: int | None = None,
    ) -> None:
        """Describe a server; `start()` makes its data and its process.

        `durable` keeps the server's own settings for writing to disk, which tests do without.
        The server ends with the process `owner_pid`, by default the present one.
        """
        self.folder = folder or make_folder(f"cachelayers-{self.name}-")
        self.port = port or find_free_port()
        self.durable = durable
        self.owner_pid = owner_pid or os.getpid()
        self.pid = 0
        self._keeper: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    # What a test does to it

    def start(self) -> None:
        """Start, or start again with the same data, and return when the server answers."""
        if self.is_running:
            return
        if is_taken(self.port):
            raise self._error("did not start: something else listens there")
        if not self.data.exists():
            self._make_data()
        self._spawn()
        self._wait_until(self.answers, START_SECONDS)

    def stop(self) -> None:
        """Stop cleanly and return when the process has ended."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End it as a power cut would, and return when the process has ended."""
        self._end(signal.SIGKILL, whole_group=True)

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def remove(self) -> None:
        """Kill it and delete its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def leave_to_keeper(self) -> None:
        """Give up control: the server runs on until its owner ends."""
        if self._keeper is not None:
            self._keeper.returncode = 0  # so that nobody expects this process to wait for it
            self._keeper = None

    @property
    def is_running(self) -> bool:
        return self._keeper is not None and self._keeper.poll() is None

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    # What each server says about itself

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    @classmethod
    def find_program(cls, program: str | None = None) -> str | None:
        return find_program(program or cls.program, cls.program_folders())

    @classmethod
    def program_folders(cls) -> list[str]:
        return []

    @classmethod
    def explain_absence(cls) -> str | None:
        """Return why this server cannot be had here, or None."""
        if cls.find_program() is None:
            return f"the program {cls.program} was not found (Debian: apt install {cls.package})"
        return None

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that runs the server."""

    def prepare(self) -> None:  # noqa: B027 - most servers have nothing to prepare
        """Fill the data folder of a new server."""

    @abstractmethod
    def answers(self) -> bool:
        """Tell whether the server takes requests."""

    # How

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def account(self) -> str | None:
        """The user to become: PostgreSQL and MariaDB refuse to run as root."""
        if os.geteuid() != 0:
            return None
        return next(name for name in (*self.accounts, "nobody") if account_exists(name))

    def program_path(self, program: str | None = None) -> str:
        path = self.find_program(program)
        if path is None:
            raise ServerError(f"{self.name}: {self.explain_absence() or program}.")
        return path

    def run_tool(self, *command: str | Path) -> str:
        """Run one of the server's own programs as its account; return what it printed."""
        result = subprocess.run(
            [str(part) for part in command],
            user=self.account,
            extra_groups=[] if self.account else None,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        if result.returncode:
            raise ServerError(f"{self.name}: {command[0]} failed.\n{result.stdout}{result.stderr}")
        return result.stdout

    def _make_data(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(mode=0o700)
        if self.account:
            for path in (self.folder, self.data):
                shutil.chown(path, self.account)
        try:
            self.prepare()
        except BaseException:
            shutil.rmtree(self.data, ignore_errors=True)  # so that the next start begins anew
            raise

    def _spawn(self) -> None:
        command = [sys.executable, "-S", str(KEEPER), "--owner", str(self.owner_pid)]
        if self.account:
            command += ["--user", self.account]
        self._keeper = subprocess.Popen(
            [*command, "--log", str(self.log), "--", *self.command()],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # an interrupt from the keyboard is for the owner alone
        )
        assert self._keeper.stdout is not None
        with self._keeper.stdout as answer:
            self.pid = int(answer.readline() or 0)
        (self.folder / "keeper.pid").write_text(str(self._keeper.pid))

    def _end(self, number: signal.Signals, *, whole_group: bool = False) -> None:
        if self._keeper is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGCONT)  # a paused process would not hear of it
            (os.killpg if whole_group else os.kill)(self.pid, number)
        try:
            self._keeper.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise self._error(
                f"did not stop within {STOP_SECONDS:.0f} s of {number.name}"
            ) from None
        self._keeper = None

    def _wait_until(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if not self.is_running:
                raise self._error("ended while it was starting")
            if time.monotonic() > deadline:
                self.kill()
                raise self._error(f"did not answer within {seconds:.0f} s")
            time.sleep(0.02)

    def _error(self, what: str) -> ServerError:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        end_of_log = "\n".join(lines[-LOG_LINES:])
        return ServerError(f"{self.name} on port {self.port} {what}. Its log ends:\n{end_of_log}")


class DatabaseServer(Server):
    """A server that can stand in Django's DATABASES."""

    @abstractmethod
    def create_database(self, name: str) -> None:
        """Create the database `name` where it does not exist yet."""

    @abstractmethod
    def database_settings(self, name: str) -> dict[str, Any]:
        """Return what DATABASES wants for the database `name` on this server."""


class Postgres(DatabaseServer):
    name = "postgres"
    program = "postgres"
    package = "postgresql"
    accounts = ("postgres",)
    stop_signal = signal.SIGINT  # the "fast" stop: does not wait for clients to leave

    @classmethod
    def program_folders(cls) -> list[str]:
        folders = Path("/usr/lib/postgresql").glob("*/bin")
        return [str(path) for path in sorted(folders, key=major_version, reverse=True)]

    @classmethod
    def explain_absence(cls) -> str | None:
        return super().explain_absence() or explain_missing_module("psycopg", ".[postgres]")

    def prepare(self) -> None:
        self.run_tool(
            self.program_path("initdb"),
            f"--pgdata={self.data}",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "--no-instructions",
        )

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
        }
        if not self.durable:
            # Not synchronous_commit: a killed server would lose what it has confirmed.
            settings |= {"fsync": "off", "full_page_writes": "off"}
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [self.program_path(), "-D", str(self.data), *options]

    def answers(self) -> bool:
        return not subprocess.call(
            [self.program_path("pg_isready"), "-q", "-h", HOST, "-p", str(self.port)]
        )

    def create_database(self, name: str) -> None:
        client = [self.program_path("psql"), "-qAtX", "-h", HOST, "-p", str(self.port)]
        client += ["-U", "postgres", "-d", "postgres", "-c"]
        if not self.run_tool(*client, f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):
            self.run_tool(*client, f'CREATE DATABASE "{name}"')

    def database_settings(self, name: str = "postgres") -> dict[str, Any]:
        return postgres_settings(self.port, name)


class MariaDB(DatabaseServer):
    name = "mariadb"
    program = "mariadbd"
    package = "mariadb-server"
    accounts = ("mysql",)

    @classmethod
    def explain_absence(cls) -> str | None:
        return super().explain_absence() or explain_missing_module("MySQLdb", ".[mysql]")

    def prepare(self) -> None:
        self.run_tool(
            self.program_path("mariadb-install-db"),
            "--no-defaults",
            f"--datadir={self.data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *self._settings(),
        )

    def command(self) -> list[str]:
        return [
            self.program_path(),
            "--no-defaults",
            f"--datadir={self.data}",
            f"--bind-address={HOST}",
            f"--port={self.port}",
            f"--socket={self.folder / 'socket'}",
            f"--pid-file={self.folder / 'data' / 'pid'}",
            "--max-connections=200",
            # Debian's own; the program's are latin1.
            "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_general_ci",
            *self._settings(),
        ]

    def _settings(self) -> list[str]:
        # Of its own: a server that starts removes temporary tables from there, also those that
        # another one is using.
        temporary = f"--tmpdir={self.folder}"
        if self.durable:
            return [temporary]
        return [
            temporary,
            # Each commit reaches the system, so that a killed server loses none; nothing waits for
            # a disk.
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-doublewrite=0",
            "--innodb-log-file-size=16M",
            "--skip-name-resolve",
        ]

    def answers(self) -> bool:
        # The server speaks first, with its version, and only once it is ready.
        return self.port_says(b"")

    def port_says(self, question: bytes) -> bool:
        return bool(ask_port(self.port, question))

    def create_database(self, name: str) -> None:
        client = [self.program_path("mariadb"), "--no-defaults", f"--host={HOST}", "--user=root"]
        statement = f"CREATE DATABASE IF NOT EXISTS `{name}`"
        self.run_tool(*client, f"--port={self.port}", f"--execute={statement}")

    def database_settings(self, name: str = "mysql") -> dict[str, Any]:
        return mariadb_settings(self.port, name)


class Redis(Server):
    name = "redis"
    program = "redis-server"
    package = "redis-server"

    @classmethod
    def explain_absence(cls) -> str | None:
        return super().explain_absence() or explain_missing_module("redis", ".[redis]")

    def command(self) -> list[str]:
        options = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(self.data),
            "save": "",
            "appendonly": "yes",  # so that its data outlives a restart
            "appendfsync": "everysec" if self.durable else "no",
        }
        arguments = [part for key, value in options.items() for part in (f"--{key}", value)]
        return [self.program_path(), *arguments]

    def answers(self) -> bool:
        return ask_port(self.port, b"PING\r\n").startswith(b"+PONG")

    @property
    def url(self) -> str:
        return f"redis://{self.address}"

    def lose_data(self) -> None:
        """Have it begin with nothing when it is started the next time."""
        for path in self.data.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


class Memcached(Server):
    name = "memcached"
    program = "memcached"
    package = "memcached"

    @classmethod
    def explain_absence(cls) -> str | None:
        return super().explain_absence() or explain_missing_module("pymemcache", ".[memcached]")

    def command(self) -> list[str]:
        return [self.program_path(), "-l", HOST, "-p", str(self.port), "-U", "0", "-m", "64"]

    def answers(self) -> bool:
        return ask_port(self.port, b"version\r\n").startswith(b"VERSION")


class Browser(Server):
    """chromedriver, which starts a Chromium for each session and ends it with the session.

    Not Playwright: its synchronous calls run an event loop in the thread of the tests, where Django
    then refuses every query of the worker's other tests; and Debian builds this driver together
    with its Chromium, so that the two always fit.
    """

    name = "browser"
    program = "chromedriver"
    package = "chromium-driver"

    @classmethod
    def explain_absence(cls) -> str | None:
        return super().explain_absence() or explain_missing_module("selenium", "selenium")

    def command(self) -> list[str]:
        # Profiles and reports of crashes: in the run's folder, and not where the account lives.
        folders = [f"{name}={self.data}" for name in ("HOME", "TMPDIR")]
        return ["/usr/bin/env", *folders, self.program_path(), f"--port={self.port}"]

    def answers(self) -> bool:
        return page_is_there(self.port, "/status")

    @property
    def url(self) -> str:
        return f"http://{self.address}"


SERVERS: dict[str, type[Server]] = {
    server.name: server for server in (Postgres, MariaDB, Redis, Memcached, Browser)
}


def find_missing() -> dict[str, str]:
    """Return the servers that cannot be started here, by name, with the reason."""
    absences = {name: server.explain_absence() for name, server in SERVERS.items()}
    return {name: reason for name, reason in absences.items() if reason is not None}


def postgres_settings(port: int, name: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": HOST,
        "PORT": port,
        "USER": "postgres",
        "NAME": name,
        "OPTIONS": {"connect_timeout": 5},
    }


def mariadb_settings(port: int, name: str) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.mysql",
        "HOST": HOST,
        "PORT": port,
        "USER": "root",
        "NAME": name,
        "OPTIONS": {"connect_timeout": 5},
    }


def find_program(program: str, folders: list[str]) -> str | None:
    path = os.pathsep.join([*folders, os.environ.get("PATH", os.defpath), *MORE_FOLDERS])
    return shutil.which(program, path=path)


def explain_missing_module(module: str, requirement: str) -> str | None:
    if importlib.util.find_spec(module) is None:
        return f"the Python package {module} is not installed (pip install {requirement})"
    return None


def major_version(folder: Path) -> int:
    version = folder.parent.name
    return int(version) if version.isdigit() else 0


def account_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def make_folder(prefix: str) -> Path:
    """Make a temporary folder that a server's account can reach."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=reachable_folder()))
    folder.chmod(0o755)
    return folder


def reachable_folder() -> Path:
    folder = Path(tempfile.gettempdir()).resolve()
    if os.geteuid() == 0 and not all(
        path.stat().st_mode & 0o001 for path in (folder, *folder.parents)
    ):
        return Path("/tmp")
    return folder


def find_free_port() -> int:
    """Return a loopback port that nothing listens on and no outgoing connection will be given.

    Not the port 0 of bind(): that is taken from the range of outgoing connections, one of which
    could take it while a test's server is stopped.
    """
    # Of the system, since pytest-randomly seeds the common generator alike in every process.
    generator = random.SystemRandom()
    while True:
        port = generator.randrange(15_000, first_outgoing_port())
        if not is_taken(port):
            return port


def is_taken(port: int) -> bool:
    with socket.socket() as candidate:
        # As servers do: connections that have just ended do not count.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((HOST, port))
        except OSError:
            return True
        return False


def first_outgoing_port() -> int:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 32_000
    return max(first, 20_000)


def ask_port(port: int, question: bytes) -> bytes:
    """Send `question` and return the beginning of the answer; nothing if there is none."""
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(question)
            return connection.recv(256)
    except OSError:
        return b""


def page_is_there(port: int, path: str) -> bool:
    """Tell whether a server of HTTP has this page."""
    question = f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: close\r\n\r\n"
    return ask_port(port, question.encode()).startswith(b"HTTP/1.1 200 ")
