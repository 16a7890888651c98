"""Several instances side by side, what each of them is called, and where its settings come from."""

from __future__ import annotations

import logging

import msgspec
import pytest

import exq_anyio as exq
from exq_anyio.node.identity import default_host

from .scene import Scene, records, until


@exq.worker
async def idle() -> None: ...


async def test_an_instance_shows_its_name_as_the_tag_of_its_process_entry(scene: Scene) -> None:
    async with scene.open(idle, name="billing", queues=["mail"], concurrency=3) as q:
        node_id = f"{default_host()}#1"
        assert q.node_id == node_id
        entry = await until(lambda: scene.hash(node_id))
        info = msgspec.json.decode(entry["info"])
        assert (info["tag"], info["identity"], info["queues"], info["concurrency"]) == ("billing", node_id, ["mail"], 3)


async def test_a_node_is_called_as_its_identifier_says_and_the_next_one_gets_the_next_number(scene: Scene) -> None:
    async with (
        scene.open(idle, node_identifier="box") as first,
        scene.open(idle, node_identifier=lambda: "box") as second,
    ):
        assert (first.node_id, second.node_id) == ("box#1", "box#2")
    async with scene.open(idle, node_identifier="box") as third:
        assert third.node_id == "box#1"


async def test_two_instances_with_different_settings_live_in_one_process(scene: Scene) -> None:
    ran: list[tuple[str, int]] = []

    @exq.worker(name="Job")
    async def left(number: int) -> None:
        ran.append(("left", number))

    @exq.worker(name="Job")
    async def right(number: int) -> None:
        ran.append(("right", number))

    elsewhere = Scene(scene.url, scene.redis, f"{scene.namespace}-other")
    async with (
        scene.open(left, queues=["a"], max_retries=1) as one,
        elsewhere.open(right, queues={"b": 2}, max_retries=2) as two,
    ):
        await one.enqueue("a", "Job", [1])
        await two.enqueue("b", "Job", [2])
        await until(lambda: len(ran) == 2)
        assert sorted(ran) == [("left", 1), ("right", 2)]
        assert (one.subscriptions(), two.subscriptions()) == ({"a": 100}, {"b": 2})
        assert (one.config.max_retries, two.config.max_retries) == (1, 2)


@pytest.mark.parametrize("mode", ["enqueuer", "api", "api,enqueuer"])
async def test_an_enqueuer_puts_jobs_in_and_works_on_none(scene: Scene, mode: str) -> None:
    async with scene.open(idle, mode=mode) as q:
        assert (q.node_id, q.subscriptions()) == (None, {})
        jid = await q.enqueue("default", idle)
        with pytest.raises(exq.WrongMode):
            await q.subscribe("default")
        with pytest.raises(exq.WrongMode):
            await q.unsubscribe("default")
        with pytest.raises(exq.WrongMode):
            await q.unsubscribe_all()
        await until(lambda: scene.connected(1))
    assert [job["jid"] for job in records(await scene.queue())] == [jid]
    assert await scene.keys() == {"queue:default", "queues"}


async def test_a_url_that_comes_from_the_environment_beats_host_and_port(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERE", scene.url)
    monkeypatch.setenv("HOW_MANY", "7")
    settings = {
        "host": "203.0.113.9",
        "port": 1,
        "concurrency": {"env": "HOW_MANY"},
        "name": {"env": "NO", "default": "x"},
    }
    async with scene.open(idle, **{**settings, "url": {"env": "WHERE"}}) as q:
        assert (q.config.url, q.config.concurrency, q.config.name) == (scene.url, 7, "x")
        assert await q.enqueue("default", "Elsewhere")


async def test_a_variable_that_is_not_there_is_an_error_that_names_setting_and_variable(scene: Scene) -> None:
    with pytest.raises(exq.ConfigError, match="url: the environment variable NOT_THERE is not set"):
        async with scene.open(idle, url={"env": "NOT_THERE"}):
            pass


async def test_a_password_is_in_no_repr_no_error_and_no_log(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "s3cret-Pa55"
    await scene.redis.config_set({"requirepass": secret})
    try:
        with pytest.raises(exq.RedisError, match="check username and password") as refused:
            async with scene.open(idle, password=f"{secret}-wrong"):
                pass
        async with scene.open(idle, password=secret) as q:
            shown = [repr(q.config), repr(q.config.address()), repr(q), str(q.config), q.config.address().display()]
            await q.enqueue("default", idle)
        with pytest.raises(exq.RedisUnavailable) as away:
            async with scene.open(idle, url=f"redis://user:{secret}@127.0.0.1:1"):
                pass
    finally:
        await scene.redis.config_set({"requirepass": ""})
    told = [*shown, caplog.text]
    for error in (refused.value, away.value):
        told += [str(error), repr(error), repr(vars(error))]
    assert [text for text in told if secret in text] == []
    assert "redis://127.0.0.1:1/0" in str(away.value)
