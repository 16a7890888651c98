"""What changes something, for the pages and for the JSON API alike; nothing here knows of either."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import cast

import attrs
import msgspec
from starlette.exceptions import HTTPException

from ..api import Api, Bulk, Entry, Filter, Jobs, Place, Progress
from ..app import Exq
from ..client import Options
from ..errors import ArgumentError, Conflict, InvalidQueue, MalformedPayload, PayloadTooLarge
from ..job import JSON
from .access import Action
from .refs import Ref


@attrs.frozen(kw_only=True)
class Done:
    """What became of some entries."""

    done: int = 0
    """Acted upon."""
    moved: int = 0
    """Were not there any more."""
    refused: int = 0
    """Are no jobs, so that they can only be deleted or killed."""


async def act(api: Api, action: Action, refs: Sequence[Ref]) -> Done:
    """Retry, run, kill or delete some entries, one by one.

    Raises:
        HTTPException: 400, the action is not one for where they lie.
    """
    done = moved = refused = 0
    for ref in refs:
        entry = await ref.entry(api)
        try:
            if entry is not None and await _act(api.at(ref.place), action, entry):
                done += 1
            else:
                moved += 1
        except MalformedPayload:
            refused += 1
        except ValueError as error:
            raise HTTPException(400, f"{action}: {error}.") from None
    return Done(done=done, moved=moved, refused=refused)


async def _act(jobs: Jobs, action: Action, entry: Entry) -> bool:
    match action:
        case "retry":
            return await jobs.retry(entry)
        case "run":
            return await jobs.run_now(entry)
        case "kill":
            return await jobs.kill(entry)
        case "delete":
            return await jobs.delete(entry)
        case _:
            raise ValueError("not an action on a job")


def act_on_all(api: Api, action: Action, place: Place, what: Filter | None) -> Bulk[Progress]:
    """Retry, run, kill or delete all that match, in bounded steps.

    Raises:
        HTTPException: 400, the action is not one for this place.
    """
    jobs = api.at(place)
    try:
        match action:
            case "retry":
                return jobs.retry_all(what)
            case "run":
                return jobs.run_all(what)
            case "kill":
                return jobs.kill_all(what)
            case "delete":
                return jobs.delete_all(what)
            case _:
                raise ValueError("not an action on jobs")
    except ValueError as error:
        raise HTTPException(400, f"{action}: {error}.") from None


async def lines(bulk: Bulk[Progress]) -> AsyncGenerator[bytes, None]:
    """The progress of each step, a JSON object on a line of its own; the last one says that it is over."""
    last = Progress(looked=0, total=0, done=0, moved=0)
    async for last in bulk:
        yield msgspec.json.encode({**attrs.asdict(last), "over": False}) + b"\n"
    yield msgspec.json.encode({**attrs.asdict(last), "over": True}) + b"\n"


async def edit(api: Api, ref: Ref, args: list[JSON]) -> Entry | None:
    """Give a job other arguments.  Raises HTTPException: 400, it is no job."""
    entry = await ref.entry(api)
    try:
        return None if entry is None else await api.at(ref.place).edit(entry, args)
    except (MalformedPayload, TypeError) as error:
        raise HTTPException(400, f"The arguments cannot be changed: {error}.") from None


async def reschedule(api: Api, ref: Ref, at: datetime) -> Entry | None:
    """Have a job due at another time.  Raises HTTPException: 400, it cannot."""
    entry = await ref.entry(api)
    try:
        return None if entry is None else await api.at(ref.place).reschedule(entry, at)
    except ValueError as error:
        raise HTTPException(400, f"The job cannot be put off: {error}.") from None


@attrs.frozen(kw_only=True)
class NewJob:
    """A job to be enqueued by hand."""

    queue: str
    worker: str
    args: list[JSON]
    after: float | None = None
    """Seconds until it is due."""
    at: datetime | None = None
    """When it is due."""
    max_retries: int | None = None
    tags: tuple[str, ...] = ()


async def enqueue(q: Exq, new: NewJob) -> str:
    """Enqueue a job by hand; its jid.

    Raises:
        HTTPException: 400, it cannot be; 409, an equal job is there.
    """
    options: dict[str, object] = {"tags": new.tags}
    if new.max_retries is not None:
        options["max_retries"] = new.max_retries
    given = cast("Options", options)
    try:
        if new.at is not None:
            return await q.enqueue_at(new.queue, new.at, new.worker, new.args, **given)
        if new.after:
            return await q.enqueue_in(new.queue, new.after, new.worker, new.args, **given)
        return await q.enqueue(new.queue, new.worker, new.args, **given)
    except Conflict as error:
        raise HTTPException(409, f"{error}.") from None
    except (ArgumentError, InvalidQueue, PayloadTooLarge, OverflowError) as error:
        raise HTTPException(400, f"{error}.") from None


def arguments(text: str) -> list[JSON]:
    """The JSON array in *text*.  Raises HTTPException: 400, it is none."""
    try:
        found = msgspec.json.decode(text.encode("utf-8", "surrogatepass"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HTTPException(400, f"The arguments are not JSON: {error}.") from None
    if not isinstance(found, list):
        raise HTTPException(400, 'The arguments must be a JSON array, such as [7, "hello"].')
    return found
