"""Servers that caches are on."""

from __future__ import annotations

import shutil

from tests.servers.ports import HOST, ask_port
from tests.servers.programs import explain_missing_module
from tests.servers.server import Server


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
