"""A queue for each value of an argument."""

from __future__ import annotations

import enum
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

import exq_anyio as exq
from exq_anyio.testing import Mock


@exq.worker(queue="exports:{tenant}", unique_for=60)
async def export(number: int, tenant: Any = "nobody") -> None: ...


class Import(exq.Worker):
    queue = "{region}:imports:{tenant}:{{x}}"

    async def perform(self, tenant: str, region: str = "eu") -> None: ...


class Tenant(enum.StrEnum):
    ACME = "acme"


@pytest.mark.parametrize(
    ("job", "queue"),
    [
        (export.job(1, "acme"), "exports:acme"),
        (export.job(1, tenant="acme"), "exports:acme"),
        (export.job(1, 77), "exports:77"),
        (export.job(1, UUID(int=1)), "exports:00000000-0000-0000-0000-000000000001"),
        (export.job(1, Tenant.ACME), "exports:acme"),
        (export.job(1), "exports:nobody"),
        (Import.job("acme"), "eu:imports:acme:{x}"),
        (Import.job("acme", region="us"), "us:imports:acme:{x}"),
        (export.job(1, "acme").on(after=timedelta(seconds=5)), "exports:acme"),
        (export.job(1, "acme").on(queue="other"), "other"),
        (export.job(1, object()).on(queue="other"), "other"),
    ],
)
def test_a_job_goes_to_the_queue_of_its_argument(job: exq.JobSpec, queue: str) -> None:
    assert job.queue == queue


@pytest.mark.anyio
async def test_so_do_jobs_that_are_enqueued_by_name_and_unique_ones(exq_mock: Mock) -> None:
    async with exq.open(mode="enqueuer", workers=[export]) as q:
        await q.push(export.job(1, "acme"))
        await q.push(export.job(1, "globex"))
        with pytest.raises(exq.Conflict):
            await q.push(export.job(1, "acme"))
        await q.enqueue("elsewhere", "export", [1, ["no name"]])
    assert [job.queue for job in exq_mock.jobs()] == ["exports:acme", "exports:globex", "elsewhere"]
    assert [job.record["queue"] for job in exq_mock.jobs()] == ["exports:acme", "exports:globex", "elsewhere"]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "must be text, an int or a UUID, not NoneType"),
        (True, "not bool"),
        (1.5, "not float"),
        (["secret"], "not list"),
        ("", "not empty text"),
        ("secret\n", "makes a name that no queue can have: must not hold control characters"),
        ("secret" * 50, "must be at most 255 bytes long"),
    ],
)
async def test_a_value_that_can_be_no_part_of_a_name_is_refused_at_enqueue(
    value: object, problem: str, exq_mock: Mock
) -> None:
    job = export.job(1, value)
    async with exq.open(mode="enqueuer", workers=[export]) as q:
        with pytest.raises(exq.ArgumentError, match=problem) as caught:
            await q.push(job)
    assert caught.value.path == "tenant"
    assert "secret" not in str(caught.value)
    assert exq_mock.jobs() == []


@pytest.mark.parametrize("queue", ["{who}", "a:{}", "{tenant.id}", "{tenant!r}", "{tenant:>3}", "a}", "{", "{rest}"])
def test_a_queue_that_names_no_parameter_is_refused_at_declaration(queue: str) -> None:
    with pytest.raises(exq.WorkerError, match="queue"):

        @exq.worker(queue=queue)
        async def export(tenant: str, *rest: str) -> None: ...
