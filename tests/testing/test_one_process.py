"""Several instances, and code that is loaded again, in one process: nothing is global but what is marked."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

import exq_anyio as exq
from exq_anyio.contrib.asgi import lifespan
from exq_anyio.redis.embedded import EmbeddedServer
from exq_anyio.testing import Mock

performed: list[str] = []


@pytest.fixture(autouse=True)
def nothing_was_performed() -> None:
    performed.clear()


@exq.worker
async def note(what: str) -> None:
    performed.append(what)


CODE = """
import exq_anyio as exq

done = []

@exq.worker
def greet(name):
    done.append("{greeting} " + name)

class Part(exq.Worker):
    def perform(self) -> None:
        done.append("{greeting}")
"""


@pytest.fixture
def reloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Write a module and load it, or load it again."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(greeting: str) -> ModuleType:
        (tmp_path / "greetings.py").write_text(CODE.format(greeting=greeting))
        importlib.invalidate_caches()
        if "greetings" in sys.modules:
            return importlib.reload(sys.modules["greetings"])
        return importlib.import_module("greetings")

    yield load
    sys.modules.pop("greetings", None)


async def test_code_that_is_loaded_again_performs_from_the_next_instance_on(reloaded: Any) -> None:
    with Mock("inline"):
        for greeting in ("Hello", "Servus"):
            module = reloaded(greeting)
            async with exq.open(imports=["greetings"]) as q:
                await q.push(module.greet.job("you"))
                await q.push(module.Part.job())
            assert module.done == [f"{greeting} you", greeting]


async def test_two_configurations_in_one_app_share_nothing(valkey: EmbeddedServer, namespace: str) -> None:
    one = {"url": valkey.url, "namespace": f"{namespace}-one", "queues": ["a"], "workers": [note]}
    two = {"url": valkey.url, "namespace": f"{namespace}-two", "queues": ["a"], "workers": []}
    async with lifespan(one)(object()) as first, lifespan(two, mode="api,enqueuer")(object()) as second:
        await second["exq"].enqueue("a", note, ["for two"])
        await first["exq"].enqueue("a", note, ["for one"])
        with anyio.fail_after(10):
            while performed != ["for one"]:
                await anyio.sleep(0.005)
        assert (await second["exq"].api.queue("a")).size == 1


def test_two_blocking_clients_share_nothing(valkey: EmbeddedServer, namespace: str) -> None:
    with (
        exq.sync(url=valkey.url, namespace=f"{namespace}-one", max_payload_bytes=200) as small,
        exq.sync(url=valkey.url, namespace=f"{namespace}-two") as large,
    ):
        with pytest.raises(exq.PayloadTooLarge):
            small.push(note.job("a" * 200))
        assert large.push(note.job("a" * 200))


async def test_an_instance_leaves_the_handling_of_signals_as_it_was(valkey: EmbeddedServer, namespace: str) -> None:
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGTSTP, signal.SIGTTIN)
    before = [signal.getsignal(one) for one in signals]
    async with exq.open(url=valkey.url, namespace=namespace, workers=[note]) as q:
        assert [signal.getsignal(one) for one in signals] == before
        await q.push(note.job("a"))
