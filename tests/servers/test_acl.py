"""The users that SECURITY.md describes may do just what it takes, on the keys of one namespace."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import anyio
import coredis
import pytest

import exq_anyio as exq

from ..acl import ADMIN, rules
from ..conftest import PrivateValkey
from ..exq.scene import but_counters, until

OPTIONAL = ["+client|unblock", "+role", "+info", "+config|get"]
"""The last line of the worker's rules."""

Start = Callable[..., PrivateValkey]


@asynccontextmanager
async def guarded(start: Start, words: list[str]) -> AsyncIterator[tuple[dict[str, Any], coredis.Redis[bytes]]]:
    """A server on which ``us`` may do no more than *words* say: how to connect as that user, and an administrator."""
    users = {"us": ["on", ">secret", *words], ADMIN: ["on", f">{ADMIN}", "~*", "&*", "+@all"], "default": ["off"]}
    server = start(*(part for user, rule in users.items() for part in ("--user", user, *rule)))
    admin = coredis.Redis(unix_socket_path=server.socket, username=ADMIN, password=ADMIN, decode_responses=False)
    async with admin:
        yield {"url": server.url, "username": "us", "password": "secret"}, admin


@exq.worker(name="Quick")
async def quick() -> None: ...


@exq.worker(name="Fails")
async def fails() -> None:
    raise ValueError("as asked for")


@exq.worker(name="Snoozes")
async def snoozes() -> exq.Snooze:
    return exq.Snooze(0.01 if exq.worker_job().snooze_count == 0 else 3600)


@pytest.mark.parametrize("words", [rules("exq-worker"), rules("exq-worker")[: -len(OPTIONAL)]], ids=["all", "least"])
async def test_a_worker_needs_no_more_than_its_rules(
    private_valkey: Start, words: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with guarded(private_valkey, words) as (settings, admin):
        many: dict[str, Any] = {"workers": [quick, fails, snoozes], "scheduler_poll_timeout": 0.02}
        async with exq.open(settings, heartbeat_interval=0.05, missed_heartbeats_allowed=1000, poll_timeout=1,
                            max_waiting_queues=1, queues=["default", "other"], **many) as q:  # fmt: skip
            await admin.sadd("exq:queues", ["default"])
            await admin.lpush("exq:queue:default", [b"not json", b'{"class":"Quick","args":[]}'])
            specs = [quick.job(), fails.job().on(max_retries=0), fails.job(), snoozes.job(), quick.job().on(after=0.05)]
            unique = quick.job().on(unique_for=60, queue="other")
            await q.enqueue_all([*specs, unique])
            await until(lambda: counted(admin, 8))
            assert (await q.api.stats()).dead == 2
            (failed,) = (await q.api.retries().page()).entries
            assert await q.api.retries().retry(failed)
            assert await q.api.dead().clear()
            assert await q.api.pause("other") == [q.node_id]
            assert (await q.api.metrics()).workers
            await until(lambda: counted(admin, 9))
        assert {key for key in await admin.keys("*") if not key.startswith(b"exq:")} == set()
        assert await admin.keys("exq:queue:backup*") == set()
        log: list[Any] = list(await admin.acl_log())
        refused = {entry[b"object"] for entry in log}
    # Our Redis library says who it is where it may; older servers do not know of that, and refuse a rule for it.
    wanted = set() if words[-1] == OPTIONAL[-1] else {b"role", b"info", b"client|unblock"}
    # Redis 6 does not say which part of a command it refused.
    assert refused - {b"client|setinfo"} in (wanted, {name.partition(b"|")[0] for name in wanted})
    assert [record.getMessage() for record in caplog.records if "may not" in record.getMessage()] == []


async def counted(admin: coredis.Redis[bytes], runs: int) -> bool:
    return int(await admin.get("exq:stat:processed") or 0) >= runs


async def test_a_program_that_only_enqueues_needs_less(private_valkey: Start) -> None:
    async with guarded(private_valkey, rules("exq-enqueuer")) as (settings, admin):
        async with exq.open(settings, mode="enqueuer", workers=[quick]) as q:
            await q.enqueue_all([quick.job(), quick.job().on(after=60), quick.job().on(unique_for=60)])
            with pytest.raises(exq.Conflict):
                await q.push(quick.job().on(unique_for=60))
            await admin.script_flush()
            await q.push(quick.job())
        assert await admin.llen("exq:queue:default") == 3
        async with exq.open(settings, mode="api") as q:
            with pytest.raises(exq.RedisError, match=r"the user may not do this .*"):
                await q.api.stats()
        log: list[Any] = list(await admin.acl_log())
        assert {(entry[b"username"], entry[b"object"]) for entry in log} >= {(b"us", b"smembers")}


async def test_another_namespace_is_out_of_reach_and_the_error_says_so(private_valkey: Start) -> None:
    async with guarded(private_valkey, rules("exq-worker")) as (settings, admin):
        async with exq.open(settings, namespace="other", mode="enqueuer", workers=[quick]) as q:
            with pytest.raises(exq.RedisError, match=r"the user may not do this .* see the documented ACL rules"):
                await q.push(quick.job())
        assert await admin.keys("*") == set()


async def test_a_stop_that_may_end_no_wait_takes_a_second_and_loses_nothing(private_valkey: Start) -> None:
    words = [word for word in rules("exq-worker") if word != "+client|unblock"]
    async with guarded(private_valkey, words) as (settings, admin):
        # Nothing runs, so that the grace, which would end it as well, is not waited for.
        async with exq.open(settings, workers=[quick], poll_timeout=60, shutdown_timeout=60) as q:
            await q.push(quick.job())
            await until(lambda: counted(admin, 1))
            await until(lambda: waits(admin))
            started = anyio.current_time()
        assert anyio.current_time() - started < 10
        assert but_counters([key.decode() for key in await admin.keys("*")]) == {"exq:queues"}


async def waits(admin: coredis.Redis[bytes]) -> bool:
    return any(client["cmd"] == "blmove" for client in await admin.client_list())


SENT = {
    "ping", "eval", "evalsha", "client|setname", "blmove", "brpop", "smembers", "lrange", "hget", "zrange", "mget",
}  # fmt: skip
"""What is sent outside of scripts."""

OPTIONS = {"BEFORE", "COUNT", "EX", "LIMIT", "LT", "MAXLEN", "NX", "OVERFLOW", "PX", "RANK", "SAT", "WITHSCORES", "XX"}
"""Words in capitals that are no commands."""


def test_the_rules_name_every_command_that_a_script_may_use() -> None:
    folder = files("exq_anyio.redis") / "lua"
    scripts = " ".join(script.read_text() for script in folder.iterdir() if script.name.endswith(".lua"))
    used = {name.lower() for name in set(re.findall(r"'([A-Z]{2,})'", scripts)) - OPTIONS}
    named = {word.removeprefix("+") for word in rules("exq-worker") if word[0] == "+"}
    assert {*used, *SENT} - named == set()
    assert not named & {"keys", "scan", "flushdb", "flushall", "config", "config|set", "acl", "shutdown", "script"}
