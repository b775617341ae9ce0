"""A Redis Cluster of three masters, and how a project connects django-redis to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar

import redis
from django_redis.pool import ConnectionFactory
from redis.cluster import RedisCluster

from tests import environment
from tests.servers import HOST, Redis, find_free_port

SLOTS = 16_384
MASTERS = 3


class ClusterFactory(ConnectionFactory):  # type: ignore[misc] # it comes without types
    """The class that docs/layered_cache.md tells users to write."""

    clients: ClassVar[dict[str, RedisCluster]] = {}

    def connect(self, url: str) -> RedisCluster:
        if url not in self.clients:
            params = self.make_connection_params(url)
            params.pop("parser_class")
            self.clients[url] = RedisCluster.from_url(**params)
        return self.clients[url]


class Node(Redis):
    """One master."""

    def command(self) -> list[str]:
        options = {
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-port": str(self.bus_port),
            "cluster-node-timeout": "2000",
        }
        return [
            *super().command(),
            *(part for key, value in options.items() for part in (f"--{key}", value)),
        ]

    @property
    def bus_port(self) -> int:
        if not hasattr(self, "_bus_port"):
            self._bus_port = find_free_port()
        return self._bus_port


@contextmanager
def running_cluster() -> Iterator[str]:
    """Start three masters, join them, and yield the URL of one."""
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(Node(environment.make_private_folder("redis-cluster")))
            for _ in range(MASTERS)
        ]
        clients: list[Any] = [redis.Redis(host=HOST, port=node.port) for node in nodes]
        for number, client in enumerate(clients):
            first, end = SLOTS * number // MASTERS, SLOTS * (number + 1) // MASTERS
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        for node in nodes[1:]:
            clients[0].execute_command("CLUSTER", "MEET", HOST, node.port, node.bus_port)
        deadline = time.monotonic() + 30
        while not all(is_joined(client) for client in clients):
            assert time.monotonic() < deadline, "the cluster does not form"
            time.sleep(0.05)
        for client in clients:
            client.close()
        yield nodes[0].url
        for cluster in ClusterFactory.clients.values():
            cluster.close()
        ClusterFactory.clients.clear()


def is_joined(client: Any) -> bool:
    info = client.execute_command("CLUSTER INFO")
    return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == MASTERS
