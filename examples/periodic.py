"""Jobs that are enqueued again and again: at intervals, by the clocks of a city, and added while nodes run.

::

    pip install "exq-anyio[embedded]"
    python examples/periodic.py
"""

import anyio

import exq_anyio as exq

told: dict[str, anyio.Event] = {what: anyio.Event() for what in ("swept", "the moment", "the day")}


@exq.worker(schedule=exq.Every(0.2))
async def sweep() -> None:
    """Swept five times a second, however many nodes there are."""
    told["swept"].set()


@exq.worker(queue="reports")
async def report(what: str) -> None:
    """Knows for which instant it was enqueued."""
    if not told[what].is_set():
        print("reported:", what, "for an instant" if exq.worker_job().tick else "")
    told[what].set()


NIGHTLY = exq.Periodic(
    "nightly",
    report.job("the day"),
    # Nobody was there at three?  One report then makes up for all that were missed.
    exq.Cron("0 3 * * *", timezone="Europe/Berlin", missed="once"),
)


async def main() -> None:
    """Let some time pass."""
    async with exq.open(url="embedded://", queues=["default", "reports"], periodic=[NIGHTLY]) as q:
        await q.api.periodic.add("often", report.job("the moment"), exq.Every(0.2))
        for job in await q.api.periodic.all():
            print(f"{job.name}: {job.schedule}, {'declared' if job.declared else 'added'}")
        await told["swept"].wait()
        await told["the moment"].wait()
        await q.api.periodic.pause("often")
        await q.api.periodic.run("nightly")  # now, and at three all the same
        await told["the day"].wait()


if __name__ == "__main__":
    anyio.run(main)
