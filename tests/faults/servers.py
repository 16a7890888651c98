"""More servers than one: a primary with a replica and a sentinel, and the nodes of a cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import valkey as server_client

from benchmarks.server import free_port, ping
from exq_anyio.redis.embedded import find_binary, private_directory

from .conftest import Client, until


@attrs.define
class Server:
    """One process on a port of the loopback."""

    port: int
    popen: subprocess.Popen[bytes]
    client: Client

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()


@contextmanager
def server(*options: str, config: str = "") -> Iterator[Server]:
    """Start a server with *options*, or the lines of *config* and ``--sentinel``."""
    port = free_port()
    with private_directory() as directory:
        command = [find_binary()]
        if config:
            path = Path(directory, "sentinel.conf")
            path.write_text(f"port {port}\nbind 127.0.0.1\ndir {directory}\n{config}")
            command += [str(path), "--sentinel"]
        else:
            command += ["--port", str(port), "--bind", "127.0.0.1", "--dir", directory, "--save", "", *options]
        popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            until(lambda: ping(port), "the server answers")
            with server_client.Valkey(port=port, decode_responses=True) as client:
                yield Server(port, popen, client)
        finally:
            popen.kill()
            popen.wait()


@contextmanager
def watched() -> Iterator[tuple[Server, Server, Server]]:
    """A primary, its replica, and a sentinel with more patience than a test, which is told when the primary is dead."""
    with (
        server("--repl-diskless-sync-delay", "0") as primary,
        server("--replicaof", "127.0.0.1", str(primary.port)) as replica,
    ):
        until(lambda: replica.client.info("replication")["master_link_status"] == "up", "the replica follows")
        config = (
            f"sentinel monitor ours 127.0.0.1 {primary.port} 1\n"
            "sentinel down-after-milliseconds ours 60000\nsentinel failover-timeout ours 3000\n"
        )
        with server(config=config) as sentinel:
            until(lambda: sentinel.client.sentinel_master("ours")["num-slaves"] == 1, "the sentinel knows the replica")
            yield primary, replica, sentinel


@contextmanager
def cluster(count: int) -> Iterator[list[Server]]:
    """A cluster of *count* primaries, which share the slots."""
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(server("--cluster-enabled", "yes", "--cluster-port", str(free_port())))
            for _ in range(count)
        ]
        for number, node in enumerate(nodes):
            first, last = 16_384 * number // count, 16_384 * (number + 1) // count - 1
            node.client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
            node.client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for node in nodes[1:]:
            bus = nodes[0].client.config_get("cluster-port")["cluster-port"]
            node.client.execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port, bus)
        until(lambda: all(_knows_all(node, count) for node in nodes), "the cluster is up")
        yield nodes


def _knows_all(node: Server, count: int) -> bool:
    info = node.client.execute_command("CLUSTER INFO")
    return (info["cluster_state"], info["cluster_known_nodes"]) == ("ok", str(count))
