"""A Quart application under Trio, served by Hypercorn, that enqueues and performs jobs in one process.

::

    pip install exq-anyio quart-trio "hypercorn[trio]"
    cd examples/quart_trio
    EXQ_URL=redis://localhost hypercorn --worker-class trio "web:create_app()"
    curl -X POST localhost:8000/users/7/welcome

With ``mode="enqueuer"`` it only enqueues, and ``exq run web`` performs the jobs in other processes.
"""

from collections.abc import AsyncGenerator

from quart_trio import QuartTrio

import exq_anyio as exq

welcomed: list[int] = []


@exq.worker(queue="mail", max_retries=5)
async def welcome(user_id: int) -> None:
    """Stands for sending a mail."""
    welcomed.append(user_id)


def create_app() -> QuartTrio:
    """Make the application."""
    app = QuartTrio(__name__)

    @app.while_serving
    async def instance() -> AsyncGenerator[None, None]:
        """Open an instance that lives as long as the application."""
        async with exq.open(queues={"mail": 10}) as q:
            app.extensions["exq"] = q
            yield

    @app.post("/users/<int:user_id>/welcome")
    async def send_welcome(user_id: int) -> tuple[dict[str, str], int]:
        """Answer as soon as the job is stored."""
        q: exq.Exq = app.extensions["exq"]
        return {"jid": await q.push(welcome.job(user_id))}, 202

    @app.get("/welcomed")
    async def who_was_welcomed() -> list[int]:
        """What the jobs have done so far."""
        return welcomed

    return app
