"""``exq enqueue``: one job from the shell."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn, cast

import click

from .options import import_from_here, redis_options, settings

if TYPE_CHECKING:
    from ..client import Options
    from ..config import Config


def json_array(_ctx: click.Context, _param: click.Parameter, value: str) -> list[Any]:
    """The JSON array that *value* is."""
    try:
        array = json.loads(value, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"not JSON: {error}") from None
    if not isinstance(array, list):
        raise click.BadParameter(f"must be an array, such as '[{value}]'")
    return array


def _instant(_ctx: click.Context, _param: click.Parameter, value: str | None) -> datetime | None:
    """The aware datetime that *value* is."""
    if value is None:
        return None
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no ISO 8601 time, such as 2030-01-31T12:00:00Z") from None
    if instant.tzinfo is None:
        raise click.BadParameter(f"{value!r} has no time zone; write {value}Z for UTC, or {value}+02:00")
    return instant


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


@click.command()
@click.argument("queue")
@click.argument("worker")
@click.argument("args", metavar="[JSON_ARGS]", callback=json_array, default="[]")
@click.option("--in", "after", metavar="SECONDS", type=click.FloatRange(0), help="Run it so much later.")
@click.option("--at", metavar="TIME", callback=_instant, help="Run it at this ISO 8601 time, which has a time zone.")
@click.option("--max-retries", metavar="N", type=click.IntRange(0), help="Retries after the first failure.")
@click.option("--timeout", metavar="SECONDS", type=click.FloatRange(0, min_open=True), help="How long a run may take.")
@click.option("--jid", help="The job's id; by default a new one.")
@click.option(
    "--unique-for", metavar="SECONDS", type=click.FloatRange(0, min_open=True), help="Refuse an equal job for so long."
)
@click.option("--unique-token", metavar="TOKEN", help="What makes jobs equal; by default worker, queue and arguments.")
@click.option(
    "--unique-until", type=click.Choice(["success", "start", "expiry"]), help="What ends that before its time."
)
@redis_options
def enqueue(
    queue: str,
    worker: str,
    args: list[Any],
    after: float | None,
    at: datetime | None,
    url: str | None,
    namespace: str | None,
    file: str | None,
    **options: object,
) -> None:
    """Put a job in QUEUE for WORKER, and print its jid.

    JSON_ARGS are the arguments as a JSON array, for example '[7, "hi"]'; by default there are none.
    """
    import anyio

    if after is not None and at is not None:
        raise click.UsageError("--in and --at say the same thing: give one of them")
    import_from_here()
    config = settings(file=file, mode="enqueuer", url=url, namespace=namespace)
    given = {name: value for name, value in options.items() if value is not None}
    when = at if after is None else after
    click.echo(anyio.run(push, config, queue, worker, args, when, cast("Options", given)))


async def push(
    config: Config, queue: str, worker: str, args: list[Any], when: datetime | float | None, options: Options
) -> str:
    """Enqueue one job, now, at an instant or after some seconds; its jid."""
    from .. import app

    async with app.open(config) as q:
        match when:
            case None:
                return await q.enqueue(queue, worker, args, **options)
            case datetime():
                return await q.enqueue_at(queue, when, worker, args, **options)
            case _:
                return await q.enqueue_in(queue, when, worker, args, **options)
