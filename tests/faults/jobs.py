"""Jobs for worker processes of the tests, which write down what they do in the file ``LEDGER``."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio

import exq_anyio as exq
from benchmarks.chaos.ledger import Ledger

ledger = Ledger(os.environ["LEDGER"])

RELEASED = Path(os.environ["LEDGER"] + ".released")
"""Is there when the jobs that wait for it may end."""


@contextmanager
def noted(name: str) -> Iterator[None]:
    ledger.write("start", name, os.getpid())
    try:
        yield
    except anyio.get_cancelled_exc_class():
        ledger.write("cancelled", name, os.getpid())
        raise
    ledger.write("done", name, os.getpid())


@exq.worker
async def nap(name: str, seconds: float) -> None:
    with noted(name):
        await anyio.sleep(seconds)


@exq.worker
async def hold(name: str) -> None:
    """Ends when the test says so."""
    with noted(name):
        while not released():
            await anyio.sleep(0.05)


@exq.worker
async def killer(name: str) -> None:
    ledger.write("start", name, os.getpid())
    os.kill(os.getpid(), signal.SIGKILL)


@exq.worker
async def deaf(name: str) -> None:
    ledger.write("start", name, os.getpid())
    while True:
        try:
            await anyio.sleep(0.05)
        except anyio.get_cancelled_exc_class():
            ledger.write("ignored", name)
            block_the_loop(0.05)  # or it would do nothing else


@exq.worker
async def stuck(name: str) -> None:
    ledger.write("start", name, os.getpid())
    try:
        await anyio.sleep_forever()
    finally:
        block_the_loop(3600)  # so that nothing else of the end can come


@exq.worker
def thread(name: str, seconds: float) -> None:
    ledger.write("start", name, os.getpid())
    time.sleep(seconds)
    ledger.write("done", name, os.getpid())


@exq.worker
async def block(name: str, seconds: float) -> None:
    ledger.write("start", name, os.getpid())
    block_the_loop(seconds)
    ledger.write("done", name, os.getpid())


def released() -> bool:
    return RELEASED.exists()


def block_the_loop(seconds: float) -> None:
    time.sleep(seconds)
