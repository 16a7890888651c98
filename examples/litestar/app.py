"""A Litestar application that enqueues from a request, and performs the jobs in the same process.

::

    pip install exq-anyio "litestar[standard]"
    EXQ_URL=redis://localhost litestar --app-dir examples/litestar run
    curl -X POST localhost:8000/users/7/welcome

With ``ExqPlugin(mode="enqueuer")`` it only enqueues, and ``exq run app`` performs the jobs in other processes.
"""

from litestar import Litestar, post
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException
from litestar.params import FromPath

import exq_anyio as exq
from exq_anyio.contrib.litestar import ExqPlugin

welcomed: list[int] = []


@exq.worker(queue="mail", max_retries=5, unique_for=3600)
async def welcome(user_id: int) -> None:
    """Stands for sending a mail."""
    welcomed.append(user_id)


@post("/users/{user_id:int}/welcome", status_code=202)
async def send_welcome(user_id: FromPath[int], queue: NamedDependency[exq.Exq]) -> dict[str, str]:
    """Answer as soon as the job is stored."""
    try:
        return {"jid": await queue.push(welcome.job(user_id))}
    except exq.Conflict as conflict:
        raise HTTPException(f"is being welcomed already by job {conflict.jid}", status_code=409) from None


app = Litestar([send_welcome], plugins=[ExqPlugin(queues={"mail": 10})])
