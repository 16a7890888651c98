"""Sentinels and nodes of a cluster that do not serve: the error names each, and says why."""

from __future__ import annotations

import errno
import gc
import re
import socket
import ssl
from collections.abc import Iterator

import anyio
import pytest

import exq_anyio as exq
from benchmarks.server import free_port
from exq_anyio.address import Address, Cluster
from exq_anyio.redis.dial import dialer
from exq_anyio.redis.refusals import reason

from .servers import Server, server


@pytest.fixture
def lone() -> Iterator[Server]:
    """A server that is neither a sentinel nor in a cluster."""
    with server() as started:
        yield started


async def refusal(url: str, **options: object) -> str:
    """What opening says after the address."""
    with pytest.raises(exq.RedisUnavailable) as raised:
        async with exq.open(url=url, namespace="{exq}", mode="enqueuer", redis_options=options):
            raise AssertionError("it opened")
    said = str(raised.value).removeprefix(f"Redis at {raised.value.address}: ")
    assert said.endswith("; check the address and that the server runs")
    return said.removesuffix("; check the address and that the server runs")


async def test_each_sentinel_that_is_not_there_is_named() -> None:
    one, other = free_port(), free_port()
    assert await refusal(f"redis+sentinel://127.0.0.1:{one},localhost:{other}/ours") == (
        f"no sentinel answers that knows the group 'ours': 127.0.0.1:{one}: Connection refused; "
        f"localhost:{other}: Connection refused"
    )


async def test_each_of_many_is_named_however_long_their_names() -> None:
    hosts = [f"sentinel-{number}.{'x' * 60}.invalid" for number in range(5)]
    said = await refusal(f"redis+sentinel://{','.join(hosts)}/ours")
    assert re.findall(r"(sentinel-\d\.x+\.invalid):26379: .+?(?:; |$)", said) == hosts


async def test_a_caller_that_gives_up_before_a_server_is_asked_leaves_nothing_open() -> None:
    dial = dialer(Address(place=Cluster((("127.0.0.1", 1),))), "{exq}")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await dial()
    assert scope.cancelled_caught
    gc.collect()  # what is open still would warn now


async def test_a_server_that_is_no_sentinel_or_no_cluster_says_so(lone: Server) -> None:
    place, away = f"127.0.0.1:{lone.port}", f"127.0.0.1:{free_port()}"
    said = await refusal(f"redis+sentinel://{place}/ours")
    assert said.startswith(f"no sentinel answers that knows the group 'ours': {place}: unknown command 'SENTINEL'")
    assert await refusal(f"redis+cluster://{place},{away}") == (
        f"no node of the cluster answers that knows where our keys are: {place}: "
        f"This instance has cluster support disabled; {away}: Connection refused"
    )


@pytest.mark.parametrize(
    ("login", "why"), [("", "it wants a password"), (":wrong@", "it refuses the user or password")]
)
async def test_a_password_that_is_wrong_or_missing_is_no_silence(lone: Server, login: str, why: str) -> None:
    lone.client.config_set("requirepass", "right")
    place = f"127.0.0.1:{lone.port}"
    said = await refusal(f"redis+cluster://{login}{place}")
    assert said == f"no node of the cluster answers that knows where our keys are: {place}: {why}"


async def test_who_accepts_and_says_nothing_is_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        place = f"127.0.0.1:{mute.getsockname()[1]}"
        said = await refusal(f"redis+cluster://{place}", connect_timeout=0.1)
    assert said == f"no node of the cluster answers that knows where our keys are: {place}: no connection in time"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)"), "Connection refused"),
        (socket.gaierror(8, "nodename nor servname provided"), "nodename nor servname provided"),
        (ssl.SSLError(1, "wrong version number"), "wrong version number"),
        (OSError("all attempts to connect failed"), "all attempts to connect failed"),
        (ExceptionGroup("", [ValueError("first\nsecond")]), "first"),
        (anyio.EndOfStream(), "the connection was closed"),
        (KeyError(), "KeyError"),
    ],
)  # fmt: skip
def test_a_reason_is_some_words_and_no_number_of_another_list(error: Exception, why: str) -> None:
    assert reason(error) == why
