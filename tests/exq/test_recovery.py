"""What a killed process of this host had taken is back as soon as another one starts."""

from __future__ import annotations

from .scene import Record, Scene, payload, records, until


def without_rescue(job: Record) -> Record:
    return {field: value for field, value in job.items() if field not in ("rescue_count", "rescued_at")}


async def test_the_backup_of_a_dead_process_is_back_in_order_before_what_waits_and_then_cleared(scene: Scene) -> None:
    node_id = await scene.dead_node("box")
    taken = [payload("Job", number, tag=["kept", {"as": number}]) for number in range(3)]
    await scene.leave_taken(node_id, "default", *taken)
    await scene.push("default", payload("Job", 3), payload("Job", 4))
    async with scene.open(queues=[], node_identifier="box") as q:
        assert q.node_id == "box#1"
        waiting = records(await scene.queue())
        assert [job["args"] for job in waiting] == [[0], [1], [2], [3], [4]]
        assert [without_rescue(job) for job in waiting[:3]] == records(taken)
        assert [job.get("rescue_count") for job in waiting] == [1, 1, 1, None, None]
        assert await scene.backup(node_id) == []
    assert await scene.keys() == {"queues", "queue:default"}


async def test_more_jobs_than_a_page_of_several_queues_come_back_in_order(scene: Scene) -> None:
    node_id = await scene.dead_node("box")
    await scene.leave_taken(node_id, "default", *[payload("Job", number) for number in range(1201)])
    await scene.leave_taken(node_id, "mail", *[payload("Mail", number) for number in range(3)])
    async with scene.open(queues=[], node_identifier="box"):
        assert [job["args"] for job in records(await scene.queue())] == [[number] for number in range(1201)]
        assert [job["args"] for job in records(await scene.queue("mail"))] == [[0], [1], [2]]
        assert await scene.redis.smembers(scene.key("queues")) == {b"default", b"mail"}


async def test_a_process_that_dies_while_we_live_is_rescued_by_us(scene: Scene) -> None:
    async with scene.open(queues=[], node_identifier="box", heartbeat_interval=0.05) as q:
        assert q.node_id == "box#1"
        node_id = await scene.dead_node("box", 2, taken=[payload("Job", 1)])
        await until(lambda: scene.queue())
        assert [(job["args"], job["rescue_count"]) for job in records(await scene.queue())] == [([1], 1)]
        await until(lambda: gone(scene, node_id))


async def gone(scene: Scene, node_id: str) -> bool:
    return not [key for key in await scene.keys() if node_id in key]


async def test_what_a_living_process_has_taken_stays_with_it(scene: Scene) -> None:
    async with scene.open(queues=[], node_identifier="box") as living:
        assert living.node_id == "box#1"
        await scene.leave_taken("box#1", "default", payload("Job", 1))
        async with scene.open(queues=[], node_identifier="box") as q:
            assert q.node_id == "box#2"
            assert await scene.backup("box#1") == [payload("Job", 1)]
            assert await scene.queue() == []


async def test_a_job_whose_node_died_too_often_is_dead_and_the_others_are_back(scene: Scene) -> None:
    node_id = await scene.dead_node("box")
    async with scene.enqueuer() as q:
        await q.enqueue("default", "Other")
    (other,) = records(await scene.queue())
    now = other["created_at"]
    await scene.redis.delete([scene.key("queue:default")])
    killer = payload("Killer", 1, rescue_count=3, rescued_at=now, extra={"kept": True})
    long_ago = payload("Killer", 2, rescue_count=3, rescued_at=now - 73 * 3600)
    await scene.leave_taken(node_id, "default", killer, long_ago, payload("Job", 3))
    await scene.redis.hset(scene.key(f"{node_id}:lease"), {"alone": "jid-Killer"})
    async with scene.open(queues=[], node_identifier="box"):
        assert [(job["args"], job["rescue_count"]) for job in records(await scene.queue())] == [([2], 1), ([3], 1)]
        (dead,) = await scene.entries("dead")
    assert (dead["class"], dead["extra"], dead["rescue_count"], dead["queue"]) == (
        "Killer",
        {"kept": True},
        4,
        "default",
    )
    assert dead["failed_at"] >= now
    assert dead["error_class"]
    assert dead["error_message"]


async def test_garbage_in_a_backup_goes_to_dead_and_holds_up_nobody(scene: Scene) -> None:
    node_id = await scene.dead_node("box")
    await scene.leave_taken(node_id, "default", payload("Job", 0), b"\xff\x00", b"[1]", payload("Job", 1))
    async with scene.open(queues=[], node_identifier="box"):
        assert [job["args"] for job in records(await scene.queue())] == [[0], [1]]
        dead = [member for member, _ in await scene.scored("dead")]
        assert b"\xff\x00" in dead
        dead.remove(b"\xff\x00")
        assert [(job["class"], job["args"]) for job in records(dead)] == [("MalformedPayload", ["[1]"])]
        assert await scene.backup(node_id) == []
