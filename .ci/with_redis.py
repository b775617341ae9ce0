"""Run a command with a Redis of its own: .ci/with_redis.py COMMAND ...

The command finds its URL in TESTPROJECT_REDIS. The Redis ends with the command, and if this process
is killed, with this process: tests/servers/keeper.py looks after it.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from tests.servers import HOST, Redis, ServerError, ask_port  # noqa: E402 - found by the line above


class DemoRedis(Redis):
    """A Redis on the loopback that keeps nothing when it ends."""

    account = None  # whoever runs the demo, since its folder is in his checkout

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        # What is in it will be unpickled, so no other user of the machine may write to it.
        self.password = secrets.token_hex(16)

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{self.address}/0"

    def command(self) -> list[str]:
        return [self.program_path(), str(self.data / "redis.conf")]

    def prepare(self) -> None:
        """Write the options into a file: everybody may read the arguments of a process."""
        options = {
            "bind": HOST,
            "port": self.port,
            "dir": f'"{self.data}"',
            "requirepass": self.password,
            "save": '""',  # the table below it outlives the demo; this layer need not
            "appendonly": "no",
            "maxmemory": "128mb",
            # Entries go, which expire some day, and not the bus and the record of epochs.
            "maxmemory-policy": "volatile-lru",
        }
        lines = (f"{name} {value}\n" for name, value in options.items())
        (self.data / "redis.conf").write_text("".join(lines))

    def answers(self) -> bool:
        question = f"AUTH {self.password}\r\nPING\r\n".encode()
        return ask_port(self.port, question).startswith(b"+OK")

    def remove(self) -> None:
        if not self.is_running:
            self._keeper = None  # its process id may be another's by now
        super().remove()


def main() -> None:
    data = Path(os.environ.get("TESTPROJECT_DATA") or PROJECT / "var")
    data.mkdir(parents=True, exist_ok=True)
    # Of this run alone: two demos may be served on two ports.
    folder = Path(tempfile.mkdtemp(prefix="redis-", dir=data))
    try:
        with DemoRedis(folder) as server:
            sys.exit(run(sys.argv[1:], server.url))
    except ServerError as error:
        sys.exit(str(error))


def run(command: list[str], url: str) -> int:
    """Run the command to its end, and return its exit status as a shell does."""
    # Ctrl-C reaches the command as well. It is waited for: it still uses the Redis while it ends.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    child = subprocess.Popen(command, env={**os.environ, "TESTPROJECT_REDIS": url})
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: child.send_signal(number))
    status = child.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    main()
