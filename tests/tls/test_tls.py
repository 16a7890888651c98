"""Connections are encrypted, the server must show a certificate that is trusted and names it, and so may the client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

import exq_anyio as exq

from .conftest import Authority

Serve = Callable[..., int]

LOCAL = ("DNS:localhost", "IP:127.0.0.1")


async def works(url: str, **options: Any) -> None:
    """Raises what keeps a job from being done at *url*."""
    done = anyio.Event()

    @exq.worker
    async def job() -> None:
        done.set()

    async with exq.open(url=url, redis_options={"connect_timeout": 5, **options}, workers=[job]) as q:
        await q.enqueue("default", job)
        with anyio.fail_after(10):
            await done.wait()


async def refused(url: str, **options: Any) -> str:
    """What is said of the connection to *url*, which must not come about."""
    with pytest.raises(exq.RedisUnavailable) as error:
        await works(url, **options)
    return str(error.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_trusted_server_that_is_named(serve: Serve, ours: Authority, host: str) -> None:
    await works(f"rediss://{host}:{serve(*LOCAL)}", ca_certs=ours.certificate)


async def test_tls_may_be_an_option_too(serve: Serve, ours: Authority) -> None:
    await works(f"redis://127.0.0.1:{serve(*LOCAL)}", tls=True, ca_certs=ours.certificate)


async def test_a_server_whom_nobody_trusts(serve: Serve, others: Authority) -> None:
    url = f"rediss://127.0.0.1:{serve(*LOCAL)}"
    assert "certificate verify failed" in await refused(url)
    assert "certificate verify failed" in await refused(url, ca_certs=others.certificate)
    await works(url, check_hostname=False, cert_reqs="none")


async def test_a_trusted_server_with_the_name_of_another(serve: Serve, ours: Authority) -> None:
    url = f"rediss://127.0.0.1:{serve('DNS:other.example')}"
    assert "not valid for '127.0.0.1'" in await refused(url, ca_certs=ours.certificate)
    await works(url, ca_certs=ours.certificate, check_hostname=False)


async def test_a_server_that_wants_to_know_its_clients(serve: Serve, ours: Authority, others: Authority) -> None:
    url = f"rediss://127.0.0.1:{serve(*LOCAL, clients='yes')}"
    certificate, key = ours.sign("client")
    await works(url, ca_certs=ours.certificate, certfile=certificate, keyfile=key)
    await refused(url, ca_certs=ours.certificate)
    certificate, key = others.sign("stranger")
    await refused(url, ca_certs=ours.certificate, certfile=certificate, keyfile=key)


async def test_without_tls_nothing_is_said_to_it(serve: Serve) -> None:
    await refused(f"redis://127.0.0.1:{serve(*LOCAL)}")
