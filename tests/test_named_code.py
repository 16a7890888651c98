"""Code that is given by its name, as a file and the environment can say it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import coredis
import pytest

import exq_anyio as exq
from exq_anyio.redis.embedded import EmbeddedServer

from .exq.scene import until

HERE = __name__
seen: list[str] = []


@asynccontextmanager
async def around(job: exq.Job) -> AsyncIterator[None]:
    seen.append("around")
    yield


@asynccontextmanager
async def enqueueing(spec: exq.JobSpec) -> AsyncIterator[None]:
    seen.append("enqueueing")
    yield


def told(event: Any) -> None:
    seen.append(event.kind)


def soon(job: exq.Job, error: BaseException) -> float:
    return 1234.0


several = [around, around]
nothing = 7


@exq.worker(name="Named")
async def named(fail: bool) -> None:
    if fail:
        raise ValueError


@pytest.fixture(autouse=True)
def unseen() -> None:
    seen.clear()


async def test_the_environment_and_a_file_name_code(
    valkey: EmbeddedServer,
    redis: coredis.Redis[bytes],
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "exq.toml"
    file.write_text(f'middleware = ["exq_anyio:default_middleware", "{HERE}:several"]\nbackoff = "{HERE}:soon"\n')
    monkeypatch.setenv("EXQ_CLIENT_MIDDLEWARE", f"{HERE}:enqueueing")
    monkeypatch.setenv("EXQ_LISTENERS", f"{HERE}:told")
    async with exq.open(file, url=valkey.url, namespace=namespace, workers=[named]) as q:
        await q.push(named.job(True))
        await until(lambda: "retry" in seen)
        ((payload, score),) = await redis.zrange(f"{namespace}:retry", 0, -1, withscores=True)
    assert [one for one in seen if one in ("around", "enqueueing", "enqueue")] == [
        "enqueueing", "enqueue", "around", "around"
    ]  # fmt: skip
    assert score - json.loads(payload)["failed_at"] == pytest.approx(1234, abs=0.01)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"middleware": f"{HERE}:nowhere"}, r"middleware: cannot import '.*:nowhere' \(module:name\)"),
        ({"listeners": ["nowhere:at_all"]}, "listeners: cannot import 'nowhere:at_all'"),
        ({"client_middleware": [f"{HERE}:nothing"]}, "client_middleware: .* is nothing to be called, but int"),
        ({"backoff": f"{HERE}:several"}, "backoff: .* is nothing to be called, but list"),
        ({"middleware": "timing"}, r"middleware: must be a list of callables, or of names \(module:name\); 'timing'"),
        ({"backoff": "soon"}, r"backoff: must be callable, or a name \(module:name\), not 'soon'"),
    ],
)
async def test_what_a_name_does_not_stand_for_is_an_error_before_anything_starts(
    settings: dict[str, Any], problem: str
) -> None:
    with pytest.raises(exq.ConfigError, match=problem):
        async with exq.open(url="redis://127.0.0.1:1", **settings):
            pytest.fail("it was opened")


async def test_who_only_looks_needs_no_code(
    valkey: EmbeddedServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXQ_MIDDLEWARE", "nowhere:at_all")
    async with exq.open(mode="api", url=valkey.url, namespace=namespace) as q:
        assert (await q.api.stats()).processed == 0


def test_callers_that_block_name_code_too(
    valkey: EmbeddedServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXQ_CLIENT_MIDDLEWARE", f"{HERE}:enqueueing")
    with exq.sync(None, url=valkey.url, namespace=namespace, workers=[named]) as q:
        q.push(named.job(False))
    assert seen == ["enqueueing"]
