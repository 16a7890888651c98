"""Jobs of Rails, as ActiveJob 6 to 8 writes them, are performed by the worker of their class; and back."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import attrs
import pytest

import exq_anyio as exq
from exq_anyio.activejob import RAILS_WRAPPER, SIDEKIQ_WRAPPER, active_job, decoded, global_id
from exq_anyio.job import Job, encode

from ..exq.scene import Scene, until


def serialized(kind: str, **fields: object) -> dict[str, object]:
    return {"_aj_serialized": f"ActiveJob::Serializers::{kind}Serializer", **fields}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (serialized("Symbol", value="a"), "a"),
        (serialized("Date", value="2026-11-24"), "2026-11-24"),
        (serialized("Time", value="2026-11-24T02:00:00.123456789Z"), "2026-11-24T02:00:00.123456789Z"),
        (serialized("TimeWithZone", value="2026-11-24T02:00:00.000Z", time_zone="UTC"), "2026-11-24T02:00:00.000Z"),
        (serialized("Duration", value=3600, parts=[[serialized("Symbol", value="hours"), 1]]), 3600),
        (serialized("BigDecimal", value="1.50"), "1.50"),
        (serialized("Module", value="User"), "User"),
        (serialized("Range", begin=1, end=5, exclude_end=False), [1, 5]),
        (
            serialized("Range", begin=serialized("Date", value="2026-11-24"), end=None, exclude_end=True),
            ["2026-11-24", None],
        ),
        ({"_aj_serialized": "MoneySerializer", "amount": 5, "currency": "EUR"}, {"amount": 5, "currency": "EUR"}),
        ({"_aj_globalid": "gid://app/User/1"}, "gid://app/User/1"),
        ({"a": serialized("Symbol", value="b"), "_aj_symbol_keys": ["a"]}, {"a": "b"}),
        ({"a": 1, "_aj_hash_with_indifferent_access": True}, {"a": 1}),
        ([1, [serialized("Symbol", value="b")], None, True, 2.5, "x"], [1, ["b"], None, True, 2.5, "x"]),
    ],
)
def test_an_argument_is_read_as_json_says_it(written: Any, read: object) -> None:
    assert decoded([0, written]) == ([0, read], {})


def test_only_a_last_hash_that_rails_marks_holds_keywords() -> None:
    marked: Any = {"b": serialized("Symbol", value="c"), "_aj_ruby2_keywords": ["b"]}
    assert decoded([1, marked]) == ([1], {"b": "c"})
    assert decoded([marked, 1]) == ([{"b": "c"}, 1], {})
    assert decoded([{"b": 1, "_aj_symbol_keys": ["b"]}]) == ([{"b": 1}], {})
    assert decoded([]) == ([], {})


def outer(wrapper: str, job_class: str, arguments: list[Any], **fields: Any) -> bytes:
    inner: Any = {"job_class": job_class, "job_id": "uuid", "arguments": arguments, "executions": 0}
    return encode({"class": wrapper, "wrapped": job_class, "args": [inner], "jid": "j", "retry": True, **fields})


@attrs.define
class Invoice:
    number: int


@pytest.mark.parametrize("wrapper", [RAILS_WRAPPER, SIDEKIQ_WRAPPER])
async def test_the_worker_of_the_wrapped_class_is_called_with_types_and_keywords(scene: Scene, wrapper: str) -> None:
    calls: list[object] = []

    @exq.worker(name="Billing::ChargeJob", max_retries=0)
    async def charge(
        user: str,
        when: datetime.datetime,
        amount: Decimal = Decimal(1),
        invoice: Invoice | None = None,
        note: str = "none",
    ) -> None:
        calls.append((user, when, amount, invoice, note, exq.worker_job().worker))
        if note == "fail":
            raise ValueError(note)

    at, user = serialized("Time", value="2026-11-24T02:00:00.000000000Z"), {"_aj_globalid": "gid://app/User/1"}
    await scene.push(
        "default",
        outer(wrapper, "Billing::ChargeJob", [user, at, serialized("BigDecimal", value="9.90")]),
        outer(
            wrapper, "Billing::ChargeJob", [user, {"note": "fail", "when": at, "_aj_ruby2_keywords": ["note", "when"]}]
        ),
        outer(wrapper, "Billing::ChargeJob", [user, at, {"nope": 1, "_aj_ruby2_keywords": ["nope"]}]),
        outer(wrapper, "UnknownJob", []),
        outer(wrapper, "Billing::ChargeJob", [])[:-1] + b',"wrapped":null}',
        encode({"class": wrapper, "args": [], "jid": "j", "retry": 0}),
    )
    async with scene.open(charge, concurrency=1):
        await until(lambda: failed(scene, 5))
    when = datetime.datetime(2026, 11, 24, 2, tzinfo=datetime.UTC)
    assert calls == [
        ("gid://app/User/1", when, Decimal("9.90"), None, "none", wrapper),
        ("gid://app/User/1", when, Decimal(1), None, "fail", wrapper),
    ]
    # The retries are those of the worker, where Rails wrote none of its own.
    errors = [(job["error_class"], job["error_message"]) for job in await scene.entries("dead")]
    assert [name for name, _ in errors] == ["ValueError", "ArgumentError", "ArgumentError", "UnknownWorker"]
    assert "nope" in errors[1][1]
    assert wrapper in errors[3][1]
    (unknown,) = await scene.entries("retry")
    assert (unknown["error_class"], "'UnknownJob'" in unknown["error_message"]) == ("UnknownWorker", True)
    assert await scene.count("processed") == 6


async def failed(scene: Scene, count: int) -> bool:
    return await scene.count("failed") == count


async def test_what_python_makes_for_rails_is_read_back_the_same(scene: Scene) -> None:
    when = datetime.datetime(2026, 11, 24, 3, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
    spec = active_job(
        "ChargeJob",
        global_id("gid://app/User/1"),
        [when.date(), {"at": when}],
        queue="rails",
        keywords={"amount": Decimal("1.5"), "tags": ("a",)},
    )
    async with scene.enqueuer() as q:
        jid = await q.push(spec.on(max_retries=3, tags=["x"]))
    (payload,) = await scene.queue("rails")
    job = Job.decode(payload)
    inner: Any = job.args[0]
    assert (job.jid, job.worker, job.record["wrapped"], job.retry, job.tags) == (
        jid,
        RAILS_WRAPPER,
        "ChargeJob",
        3,
        ["x"],
    )
    assert {field: inner[field] for field in ("job_class", "queue_name", "executions", "locale")} == {
        "job_class": "ChargeJob",
        "queue_name": "rails",
        "executions": 0,
        "locale": "en",
    }
    assert decoded(inner["arguments"]) == (
        ["gid://app/User/1", ["2026-11-24", {"at": "2026-11-24T02:00:00Z"}]],
        {"amount": "1.5", "tags": ["a"]},
    )
