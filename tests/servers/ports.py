"""Find ports of the loopback address, and ask who listens there."""

from __future__ import annotations

import random
import socket
from pathlib import Path

HOST = "127.0.0.1"


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
