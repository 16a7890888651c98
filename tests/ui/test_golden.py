"""What the real programs wrote is shown without an error, each state of each of them."""

from __future__ import annotations

import coredis
import pytest

import exq_anyio as exq
from exq_anyio import ui
from exq_anyio.redis.embedded import EmbeddedServer

from ..wire import golden
from .visitor import Visitor

FILES = sorted(
    f"{path.parent.name}/{path.name}" for path in golden.GOLDEN.glob("*/[01]*") if "inspect" not in path.name
)


@pytest.mark.parametrize("file", FILES)
async def test_every_page_of_a_recorded_state_stands(
    file: str, valkey: EmbeddedServer, redis: coredis.Redis[bytes]
) -> None:
    await golden.load(redis, golden.read(file))
    namespace = {"exq-0.23.0": "exq", "resque-2.7.0": "resque"}.get(file.partition("/")[0], "")
    async with (
        exq.open(url=valkey.url, namespace="" if file.endswith("empty-namespace.txt") else namespace, mode="api") as q,
        Visitor(ui.create_app(q)) as visitor,
    ):
        links = {"/", "/queues", "/busy", "/retries", "/scheduled", "/dead"}
        seen = set[str]()
        while links - seen:
            for link in sorted(links - seen):
                page = await visitor.get(link)
                assert page.status == 200, (link, page)
                seen.add(link)
                followed = ("/queues/", "/job?", "/running?", "/payload?", "/bulk?")
                links |= {each for each in page.links if each.startswith(followed)}
        for path in ("/stats", "/history", "/queues", "/nodes", "/busy", "/retries", "/scheduled", "/dead"):
            assert (await visitor.json("GET", path))[0] == 200
