"""A web application that enqueues from a request, and performs the jobs in the same process.

::

    pip install exq-anyio "fastapi[standard]"
    EXQ_URL=redis://localhost fastapi dev examples/fastapi/main.py
    curl -X POST localhost:8000/users/7/welcome

With ``lifespan(mode="enqueuer")`` it only enqueues, and ``exq run main`` performs the jobs in other processes.
"""

from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request

import exq_anyio as exq
from exq_anyio.contrib.asgi import lifespan

welcomed: list[int] = []


@exq.worker(queue="mail", max_retries=5, unique_for=3600)
async def welcome(user_id: int) -> None:
    """Stands for sending a mail."""
    welcomed.append(user_id)


app = FastAPI(lifespan=lifespan(queues={"mail": 10}))


def instance(request: Request) -> exq.Exq:
    """The instance that lives as long as the application."""
    found: exq.Exq = request.state.exq
    return found


Queue = Annotated[exq.Exq, Depends(instance)]


@app.post("/users/{user_id}/welcome", status_code=202)
async def send_welcome(user_id: int, q: Queue) -> dict[str, str]:
    """Answer as soon as the job is stored."""
    try:
        return {"jid": await q.push(welcome.job(user_id))}
    except exq.Conflict as conflict:
        raise HTTPException(409, f"is being welcomed already by job {conflict.jid}") from None
