"""What every task and thread is doing at this moment, for the log: the answer to "why does it hang?"."""

from __future__ import annotations

import inspect
import sys
import threading
import traceback
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING

import sniffio

from ..middleware import current_run
from .performer import in_context

if TYPE_CHECKING:
    from trio.lowlevel import Task

LISTED = 1_000
"""Most stacks that are shown."""


def all_stacks() -> str:
    """The stacks of all tasks of this event loop and of all threads; equal ones once, with how many there are."""
    groups: dict[str, list[str]] = {}
    for name, coroutine in _tasks():
        frames, label = list(_frames(coroutine)), name
        for frame in frames:
            label = _job_of(frame) or label
        groups.setdefault(_shown(frames), []).append(label)
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        shown = "".join(traceback.format_stack(frame))
        groups.setdefault(shown, []).append(f"thread {names.get(ident, ident)}")
    parts = [f"-- {_counted(labels)}\n{stack}" for stack, labels in list(groups.items())[:LISTED]]
    return "\n".join(parts)


def _counted(labels: list[str]) -> str:
    more = f" and {len(labels) - 10} more" if len(labels) > 10 else ""
    return ", ".join(labels[:10]) + more


def _tasks() -> list[tuple[str, object]]:
    if sniffio.current_async_library() == "trio":
        import trio

        return [(f"task {task.name}", task.coro) for task in _trio_tasks(trio.lowlevel.current_root_task())]
    import asyncio

    return [(f"task {task.get_name()}", task.get_coro()) for task in asyncio.all_tasks()]


def _trio_tasks(task: Task | None) -> Iterator[Task]:
    waiting = [task]
    while waiting:
        found = waiting.pop()
        if found is not None:
            yield found
            waiting += [child for nursery in found.child_nurseries for child in nursery.child_tasks]


def _frames(coroutine: object) -> Iterator[types.FrameType]:
    """The frames of a suspended coroutine, the outermost first."""
    while coroutine is not None:
        if inspect.iscoroutine(coroutine):
            frame, inner = coroutine.cr_frame, coroutine.cr_await
        elif inspect.isgenerator(coroutine):
            frame, inner = coroutine.gi_frame, coroutine.gi_yieldfrom
        elif inspect.isasyncgen(coroutine):
            frame, inner = coroutine.ag_frame, coroutine.ag_await
        else:
            return
        if frame is None:
            return
        yield frame
        if frame.f_code is in_context.__code__:
            inner = frame.f_locals["coroutine"]  # it drives the job's coroutine itself
        coroutine = inner


def _job_of(frame: types.FrameType) -> str | None:
    if frame.f_code is not in_context.__code__:
        return None
    run = frame.f_locals["context"].get(current_run)
    return None if run is None else f"job jid={run.job.jid} worker={run.job.worker}"


def _shown(frames: list[types.FrameType]) -> str:
    lines = [(frame, frame.f_lineno) for frame in frames]
    return "".join(traceback.StackSummary.extract(iter(lines)).format()) or "(it has not begun)\n"
