"""A program that enqueues, a worker, and the server between them, in one process.

::

    pip install "exq-anyio[embedded]"
    python examples/quickstart.py
"""

import anyio

import exq_anyio as exq

welcomed: list[str] = []
all_welcomed = anyio.Event()


@exq.worker(queue="mail", max_retries=5)
async def send_welcome(user_id: int, template: str = "hi") -> None:
    """Stands for what takes long, or may fail: it is retried when it raises."""
    await anyio.sleep(0.01)
    welcomed.append(f"{template}, user {user_id}")
    if len(welcomed) == 3:
        all_welcomed.set()


async def main() -> None:
    """Enqueue three jobs and wait for them."""
    # embedded:// starts a Valkey for this block alone; in production, say url="redis://host".
    async with exq.open(url="embedded://", queues={"mail": 10}) as q:
        # Arguments are checked here, by the type checker and when the job is made.
        await q.push(send_welcome.job(7))
        await q.push(send_welcome.job(8, template="welcome back"))
        # By name, as another program would that does not have the code.
        await q.enqueue("mail", "send_welcome", [9, "hello"])
        with anyio.fail_after(10):
            await all_welcomed.wait()
    print(*sorted(welcomed), sep="\n")


if __name__ == "__main__":
    anyio.run(main)
