"""Looking at queues and sets: sizes, pages, order, garbage, finding, while jobs come and go."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from exq_anyio.api import Api, Entry, Found, Jobs, Page, Place
from exq_anyio.errors import InvalidQueue, WrongType

from .conftest import NOW, Site, failed, job

Which = Callable[[Api], Jobs]

PLACES: dict[str, Which] = {
    "queue:q": lambda api: api.jobs("q"),
    "retry": lambda api: api.retries(),
    "schedule": lambda api: api.scheduled(),
    "dead": lambda api: api.dead(),
}

every_place = pytest.mark.parametrize(("key", "which"), PLACES.items(), ids=PLACES)


async def put_many(site: Site, key: str, payloads: list[bytes]) -> None:
    """Put them so that the first in the order of the API comes first."""
    if key.startswith("queue"):
        await site.put_at(key, payloads)
    else:
        ordered = payloads if key != "dead" else payloads[::-1]
        await site.put_at(key, {payload: NOW + at for at, payload in enumerate(ordered)})


async def jids(jobs: Jobs) -> list[str]:
    return [entry.jid async for entry in jobs]


@every_place
async def test_what_is_empty_has_no_size_no_page_and_no_entry(site: Site, key: str, which: Which) -> None:
    jobs = which(site.api)
    assert await jobs.size() == 0
    assert await jobs.page() == Page(entries=(), offset=0, total=0)
    assert [page async for page in jobs.pages()] == []
    assert await jids(jobs) == []
    assert await jobs.find("missing") == Found(entry=None, looked=0, total=0)
    assert await site.state() == {}


@every_place
async def test_pages_are_in_order_and_know_how_many_there_are(site: Site, key: str, which: Which) -> None:
    await put_many(site, key, [failed(str(at)) for at in range(7)])
    jobs = which(site.api)
    assert await jobs.size() == 7
    page = await jobs.page(2, 3)
    assert ([entry.jid for entry in page], page.offset, page.total, len(page)) == (["2", "3", "4"], 2, 7, 3)
    assert [entry.jid for entry in await jobs.page(6, 3)] == ["6"]
    assert [entry.jid for entry in await jobs.page(7)] == []
    assert [[entry.jid for entry in page] async for page in jobs.pages(3)] == [
        ["0", "1", "2"], ["3", "4", "5"], ["6"],
    ]  # fmt: skip
    assert [(page.offset, page.total) async for page in jobs.pages(3)] == [(0, 7), (3, 7), (6, 7)]
    assert await jids(jobs) == list("0123456")


@every_place
async def test_a_job_is_found_by_its_jid_and_what_was_looked_at_is_told(site: Site, key: str, which: Which) -> None:
    await put_many(site, key, [failed(str(at)) for at in range(5)])
    found = await which(site.api).find("3")
    assert found.entry is not None
    assert (found.entry.jid, found.entry.payload, found.looked, found.total) == ("3", failed("3"), 5, 5)
    assert await which(site.api).find("3", limit=3) == Found(entry=None, looked=3, total=5)


async def test_a_set_gives_scores_and_times_a_queue_positions(site: Site) -> None:
    payload = failed("a")
    await site.put(dead={payload: NOW}, queue_q=[job("b", enqueued_at=NOW), job("c", enqueued_at=int(NOW * 1000))])
    (entry,) = await site.api.dead().page()
    assert (entry.score, entry.at) == (NOW, datetime.fromtimestamp(NOW, UTC))
    assert (entry.place, entry.queue, entry.payload, entry.text) == (Place("dead"), "q", payload, payload.decode())
    first, second = await site.api.jobs("q").page()
    assert (first.place, first.score, first.position, second.position) == (Place("queue", "q"), None, 0, 1)
    assert first.at == second.at == datetime.fromtimestamp(NOW, UTC)


async def test_by_score_and_jid_only_that_entry_is_found(site: Site) -> None:
    score = 1795486895.6237516
    same, other = failed("same", args=[1]), failed("same", args=[2])
    await site.put(retry={same: score, other: score + 1, failed("not"): score})
    found = await site.api.retries().find("same", score=score)
    assert found.entry is not None
    assert (found.entry.payload, found.looked, found.total) == (same, 2, 2)
    assert (await site.api.retries().find("same", score=score + 0.5)).entry is None
    later = await site.api.retries().find("same", score=score + 1)
    assert later.entry is not None
    assert later.entry.payload == other


@pytest.mark.parametrize("escaped", [b'"jid":"\\u0061bc"', b'"jid":"abc"'])
async def test_a_jid_is_found_however_json_spells_it(site: Site, escaped: bytes) -> None:
    await site.put(queue_q=[job("x").replace(b'"jid":"x"', escaped)])
    found = await site.api.jobs("q").find("abc")
    assert found.entry is not None


@pytest.mark.parametrize("jid", ['a"b', "a\\b", "é", "a/b", "\x7f"])
async def test_any_text_may_be_a_jid(site: Site, jid: str) -> None:
    await site.put(dead={failed(jid): NOW, failed("other"): NOW})
    found = await site.api.dead().find(jid)
    assert found.entry is not None
    assert found.entry.payload == failed(jid)


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"{not json", "not JSON that can be read (DecodeError)"),
        (b"\xff\xfe", "not JSON that can be read (DecodeError)"),
        (b"", "not JSON that can be read (DecodeError)"),
        (b"[1]", "JSON, but not an object"),
        (b'{"class":"W"}', "'args' is not an array"),
    ],
)
@every_place
async def test_garbage_is_shown_as_text_and_hides_no_other(
    site: Site, key: str, which: Which, payload: bytes, problem: str
) -> None:
    await put_many(site, key, [job("a"), payload, job("b")])
    first, garbage, last = await which(site.api).page()
    assert (first.jid, last.jid) == ("a", "b")
    assert (garbage.job, garbage.problem, garbage.payload) == (None, problem, payload)
    assert (garbage.jid, garbage.worker, garbage.text) == ("", "", payload.decode("utf-8", "replace"))
    assert garbage.queue == ("q" if key == "queue:q" else "default")


@pytest.mark.parametrize(("score", "at"), [(float("inf"), None), (-5.0, None), (1e300, None), (1e11, None), (0.0, 0)])
async def test_a_score_that_is_no_time_stops_nobody(site: Site, score: float, at: int | None) -> None:
    await site.put(schedule={job("a"): score})
    (entry,) = await site.api.scheduled().page()
    assert (entry.score, entry.at) == (score, None if at is None else datetime.fromtimestamp(at, UTC))


@pytest.mark.parametrize("arguments", [(-1, 5), (0, 0), (0, 10_001)])
async def test_a_page_out_of_range_is_refused(site: Site, arguments: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="must"):
        await site.api.dead().page(*arguments)


async def test_a_queue_whose_name_cannot_be_is_refused(site: Site) -> None:
    with pytest.raises(InvalidQueue):
        site.api.jobs("backup::vm::default")


@every_place
async def test_a_key_of_another_type_is_named(site: Site, key: str, which: Which) -> None:
    await site.put_at(key, b"text")
    with pytest.raises(WrongType) as caught:
        await which(site.api).page()
    assert (caught.value.key, caught.value.found) == (site.key(key), "string")


async def test_what_has_no_jid_is_not_found_by_an_empty_one(site: Site) -> None:
    await site.put(dead={b"{garbage": NOW, b'{"class":"W","args":[]}': NOW + 1, job(""): NOW + 2})
    assert await site.api.dead().find("") == Found(entry=None, looked=3, total=3)
    assert await site.api.dead().delete("") is False
    assert await site.api.dead().size() == 3


# While jobs come and go


async def walked(jobs: Jobs, size: int, between: Callable[[int], object]) -> list[str]:
    """The jids that a walk sees, when *between* is done after each page."""
    seen: list[str] = []
    async for page in jobs.pages(size):
        seen += [entry.jid for entry in page]
        await between(len(seen))  # type: ignore[misc]  # object, as the parameter is
    return seen


async def test_jobs_that_come_to_a_queue_are_not_taken_for_those_that_were_seen(site: Site) -> None:
    await site.put(queue_q=[job(str(at)) for at in range(10)])

    async def come(seen: int) -> None:
        await site.redis.lpush(site.key("queue:q"), [job(f"new {seen} {at}") for at in range(4)])

    assert await walked(site.api.jobs("q"), 3, come) == list("0123456789")


async def test_jobs_that_leave_a_queue_at_its_tail_hide_no_other(site: Site) -> None:
    await site.put(queue_q=[job(str(at)) for at in range(10)])

    async def leave(seen: int) -> None:
        await site.redis.rpop(site.key("queue:q"))

    assert await walked(site.api.jobs("q"), 3, leave) == list("01234567")


async def test_jobs_deleted_from_the_midst_of_a_queue_hide_no_other(site: Site) -> None:
    await site.put(queue_q=[job(str(at)) for at in range(10)])

    async def delete(seen: int) -> None:
        await site.redis.lrem(site.key("queue:q"), 1, job(str(seen - 2)))

    assert await walked(site.api.jobs("q"), 3, delete) == list("0123456789")


@pytest.mark.parametrize("key", ["retry", "schedule", "dead"])
async def test_entries_that_leave_a_set_hide_no_other_even_those_seen_last(site: Site, key: str) -> None:
    await put_many(site, key, [job(str(at)) for at in range(10)])

    async def leave(seen: int) -> None:
        await site.redis.zrem(site.key(key), [job(str(at)) for at in range(seen)])

    assert await walked(PLACES[key](site.api), 3, leave) == list("0123456789")


@pytest.mark.parametrize("key", ["retry", "schedule", "dead"])
async def test_entries_that_come_before_are_not_seen_and_hide_no_other(site: Site, key: str) -> None:
    await put_many(site, key, [job(str(at)) for at in range(10)])

    async def come(seen: int) -> None:
        await site.redis.zadd(site.key(key), {job(f"new {seen}"): NOW + 99 if key == "dead" else NOW - 99})

    assert await walked(PLACES[key](site.api), 3, come) == list("0123456789")


async def test_entries_of_one_score_are_all_seen(site: Site) -> None:
    await site.put(dead={job(f"{at:03}"): NOW for at in range(100)})
    assert sorted(await jids(site.api.dead())) == [f"{at:03}" for at in range(100)]
    pages = [page async for page in site.api.dead().pages(7)]
    assert sorted(entry.jid for page in pages for entry in page) == [f"{at:03}" for at in range(100)]


async def test_a_loop_may_be_left_at_any_time(site: Site) -> None:
    await site.put(queue_q=[job(str(at)) for at in range(10)])

    async def first() -> Entry:
        async for entry in site.api.jobs("q"):
            return entry
        raise AssertionError

    assert (await first()).jid == "0"
    assert (await first()).jid == "0"


async def test_a_step_of_large_payloads_ends_early_and_all_are_seen(site: Site) -> None:
    large = "x" * 900_000
    await site.put(queue_q=[job(str(at), args=[large]) for at in range(12)])
    pages = [[entry.jid for entry in page] async for page in site.api.jobs("q").pages()]
    assert pages == [["0", "1", "2", "3", "4"], ["5", "6", "7", "8", "9"], ["10", "11"]]


async def test_a_page_of_large_payloads_ends_early_when_it_is_asked_to(site: Site) -> None:
    await site.put(queue_q=[job(str(at), args=["x" * 1_000]) for at in range(9)])
    jobs = site.api.jobs("q")
    assert [entry.jid for entry in await jobs.page(size=9, most_bytes=2_500)] == ["0", "1", "2"]
    assert [entry.jid for entry in await jobs.page(offset=3, size=9, most_bytes=1)] == ["3"]


# By key


@every_place
async def test_an_entry_is_found_by_its_key_also_when_it_is_no_job(site: Site, key: str, which: Which) -> None:
    payloads = [job("a"), b"\xff no job", b"[1]", job("b"), job("b", args=[2])]
    await put_many(site, key, payloads)
    jobs = which(site.api)
    entries = list(await jobs.page())
    assert [entry.payload for entry in entries] == payloads
    assert len({entry.key for entry in entries}) == 5
    for entry in entries:
        found = await jobs.locate(entry.key, score=entry.score, jid=entry.jid)
        assert found.entry is not None
        assert found.entry.payload == entry.payload
    assert (await jobs.locate("0" * 16, score=entries[0].score)).entry is None


async def test_an_entry_of_a_queue_is_found_near_its_place_before_all_are_looked_at(site: Site) -> None:
    await site.put(queue_q=[job(str(at)) for at in range(5_000)])
    jobs = site.api.jobs("q")
    (entry,) = await jobs.page(4_000, 1)
    near = await jobs.locate(entry.key, near=4_000, limit=300)
    assert (near.entry and near.entry.jid, near.looked) == ("4000", 300)
    assert await jobs.locate(entry.key, near=100, limit=300) == Found(entry=None, looked=300, total=5_000)
    far = await jobs.locate(entry.key, near=4_900, limit=4_500)
    assert (far.entry and far.entry.jid) == "4000"
