"""What stands between nodes and the server in these tests does at each moment what it says."""

from __future__ import annotations

import asyncio
import socket

import pytest

from benchmarks.chaos.proxy import Network, Proxy
from exq_anyio.redis.embedded import EmbeddedServer

ROUNDS = 12
"""Of the event loop: by then a connection has been accepted, and leads to the server."""


@pytest.mark.parametrize("rounds", range(ROUNDS))
def test_whoever_connects_as_it_begins_to_refuse_is_cut(valkey: EmbeddedServer, network: Network, rounds: int) -> None:
    proxy = network.proxy(valkey.socket)

    async def connect() -> socket.socket:
        client = socket.create_connection(("127.0.0.1", proxy.port))
        for _ in range(rounds):
            await asyncio.sleep(0)
        await proxy._refuse()
        return client

    with network.run(connect()) as client:
        assert until_gone(client)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port))


def test_what_is_not_cut_is_forwarded(valkey: EmbeddedServer, network: Network) -> None:
    proxy = network.proxy(valkey.socket)
    with connected(proxy) as client:
        proxy.cut()
        assert until_gone(client)
    with connected(proxy) as client:
        client.sendall(b"QUIT\r\n")
        assert client.recv(100) == b"+OK\r\n"
        assert until_gone(client)
    assert proxy.accepted == 2
    proxy.refuse()


def connected(proxy: Proxy) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
    client.sendall(b"PING\r\n")
    assert client.recv(100) == b"+PONG\r\n"
    return client


def until_gone(client: socket.socket) -> bool:
    """Whether the other side closes or resets it, soon."""
    client.settimeout(10)
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True
