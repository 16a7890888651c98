"""taskiq with the stream broker: ``taskiq worker --workers 1 benchmarks.peers.taskiq:broker``."""

import contextlib

from taskiq_redis import RedisStreamBroker

from . import driver

broker = RedisStreamBroker(
    driver.URL,
    # What nobody acknowledged for so long is claimed by whoever reads next.
    **({"idle_timeout": 5000, "unacknowledged_lock_timeout": 5} if driver.SAFE else {}),
)


@broker.task(task_name="noop")
async def noop(sent_ns: int) -> None:
    driver.mark(sent_ns)


@contextlib.asynccontextmanager
async def client():
    await broker.startup()

    async def enqueue(sent_ns):
        await noop.kiq(sent_ns)

    yield enqueue, None
    await broker.shutdown()


if __name__ == "__main__":
    driver.main(client)
