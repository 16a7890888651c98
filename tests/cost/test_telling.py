"""Where nobody listens, telling costs nothing: jobs take the same instructions as with all of it cut out of the code.

The instructions are those that Python executes of this package, so that no machine is too slow for it.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, FunctionType
from typing import Any

import anyio.lowlevel
import pytest

import exq_anyio as exq
from exq_anyio.client import Client
from exq_anyio.node.dequeuer import Source
from exq_anyio.node.node import Node
from exq_anyio.node.performer import Performer
from exq_anyio.node.periodic import Ticker
from exq_anyio.node.settler import Settler
from exq_anyio.redis.embedded import EmbeddedServer
from exq_anyio.testing.flush import flush

from .meter import AT_ONCE, JOBS, OURS, Together

MARGIN = 1.03


@contextmanager
def instructions() -> Iterator[list[int]]:
    """How many bytecode instructions of ours are executed in the block, in this thread."""
    count = [0]

    def enter(frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return step

    def step(frame: FrameType, event: str, _: object) -> Any:
        count[0] += event == "opcode"
        return step

    former = sys.gettrace()
    sys.settrace(enter)
    try:
        yield count
    finally:
        sys.settrace(former)


class Silence(ast.NodeTransformer):
    """Cuts out what asks whether anybody listens, and what tells."""

    def __init__(self) -> None:
        self.cuts = 0

    def visit_If(self, node: ast.If) -> ast.AST:
        self.generic_visit(node)
        return self._cut(node) if {"listeners", "_teller"} & _attributes(node.test) else node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        called = node.value.func if isinstance(node.value, ast.Call) else None
        return self._cut(node) if isinstance(called, ast.Attribute) and called.attr == "_tell" else node

    def _cut(self, node: ast.AST) -> ast.AST:
        self.cuts += 1
        return ast.Pass()


def _attributes(node: ast.AST) -> set[str]:
    return {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}


def silence(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Cut all that tells out of the code on the way of a job; the functions in which there was something to cut."""
    monkeypatch.setattr("exq_anyio.node.node.TellingPerformer", Performer)
    found = set()
    for owner in (Client, Node, Performer, Settler, Source, Ticker):
        for name, function in list(vars(owner).items()):
            if not isinstance(function, FunctionType) or "__class__" in function.__code__.co_freevars:
                continue
            silencer = Silence()
            tree = silencer.visit(ast.parse(textwrap.dedent(inspect.getsource(function))))
            if silencer.cuts:
                found.add(f"{owner.__name__}.{name}")
                scope: dict[str, Any] = {}
                code = compile(ast.fix_missing_locations(tree), inspect.getfile(owner), "exec")
                exec(code, function.__globals__, scope)
                monkeypatch.setattr(owner, name, scope[name])
    return found


async def cost_of_a_job(valkey: EmbeddedServer, namespace: str, **settings: object) -> float:
    """Instructions that it takes to put a job in, and to perform it."""
    together = Together()

    @exq.worker(name="Together")
    async def job() -> None:
        await together.perform()

    # Without services: they cost nothing more when there are more jobs.
    settings |= {"heartbeat_enable": False, "scheduler_enable": False, "queues": [], "workers": [job]}
    async with exq.open(settings, url=valkey.url, namespace=namespace) as q:
        assert q._node is not None
        with instructions() as executed:
            await q.enqueue_all(job.job() for _ in range(JOBS))
            await q.subscribe("default", AT_ONCE)
            await together.over.wait()
            while q._node.performer.running:  # until the last outcome is written
                await anyio.lowlevel.checkpoint()
    flush(valkey.socket, namespace)
    return executed[0] / JOBS


async def test_where_nobody_listens_a_job_takes_as_many_instructions_as_without_the_code_that_tells(
    valkey: EmbeddedServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost = await cost_of_a_job(valkey, namespace)
    assert {"Client._send", "Node.run", "Ticker._look"} <= silence(monkeypatch)
    without = await cost_of_a_job(valkey, namespace)
    assert without / MARGIN < cost < without * MARGIN


async def test_who_listens_is_seen_in_the_instructions(
    valkey: EmbeddedServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost = await cost_of_a_job(valkey, namespace, listeners=[id])
    silence(monkeypatch)
    assert cost > await cost_of_a_job(valkey, namespace) * MARGIN
