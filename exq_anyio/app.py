"""Opens an instance: the only place that joins Redis to the node."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import anyio
import attrs

from .address import Address, Embedded, Unix
from .client import Client, declared_periodic, template
from .config import Config, QueueConfig
from .errors import Interrupted, WrongMode
from .load import load_config, with_code
from .middleware import Middleware, default_middleware
from .outbox import Outbox, StandIn, stand_in
from .resource import Stock, Supply
from .setting import check_queue_name
from .worker import Registry

if TYPE_CHECKING:
    from .api import Api
    from .node.health import Health
    from .node.node import Node
    from .node.store import Store
    from .redis.connect import Connections
    from .redis.keys import Keys


logger: logging.Logger = logging.getLogger("exq_anyio")

LEAVING = 2.0
"""Seconds after a stop for the end of the node's resources, if it has any."""


class Exq(Client):
    """An open instance: enqueue with it, and change what its node works on.  Made by :func:`open`."""

    def __init__(
        self,
        config: Config,
        workers: Registry,
        outbox: Outbox,
        node: Node | None,
        clock: Callable[[], float] = time.time,
        api: Api | None = None,
    ) -> None:
        super().__init__(config, workers, outbox, clock)
        self._node = node
        self._api = api

    @property
    def api(self) -> Api:
        """To look at everything and to repair it, in mode ``"api"`` or ``"default"``.  Raises WrongMode."""
        if self._api is None:
            raise WrongMode("api", ", ".join(sorted(self.config.mode)))
        return self._api

    @property
    def node_id(self) -> str | None:
        """Identity of the node, None when this instance works on no queues."""
        return self._node.claim.node_id if self._node is not None else None

    def health(self) -> Health | None:
        """How the node is, None when this instance works on no queues; may be called from any thread."""
        return self._node.health() if self._node is not None else None

    def subscriptions(self) -> dict[str, float]:
        """The queues that jobs are taken from, and how many of each run at a time (inf: no limit)."""
        return self._node.subscriptions() if self._node is not None else {}

    async def subscribe(self, queue: str, concurrency: float | None = None, dequeuer: object | None = None) -> None:
        """Take jobs from *queue* too; *concurrency* (default: ``Config.concurrency``) of them run at a time.

        Raises:
            InvalidQueue, ConfigError: the name or the concurrency cannot be.
            WrongMode: this instance works on no queues.
        """
        await self._working("subscribe").subscribe(QueueConfig(check_queue_name(queue), concurrency, dequeuer))

    async def unsubscribe(self, queue: str) -> None:
        """Take no more jobs from *queue*; those that run go on.  Raises WrongMode."""
        await self._working("unsubscribe").unsubscribe(check_queue_name(queue))

    async def unsubscribe_all(self) -> None:
        """Take no more jobs from any queue.  Raises WrongMode."""
        await self._working("unsubscribe_all").unsubscribe_all()

    def _working(self, what: str) -> Node:
        if self._node is None:
            raise WrongMode(what, ", ".join(sorted(self.config.mode)))
        return self._node


@asynccontextmanager
async def open(  # noqa: A001  # exq.open is the name that users know
    config: Config | Mapping[str, object] | str | os.PathLike[str] | None = None, /, **overrides: object
) -> AsyncIterator[Exq]:
    """Open an instance: connect, and in mode ``"default"`` work on its queues, until the block ends.

    *config* is a :class:`Config`, a mapping of its fields, the path of a TOML file, or None for the environment
    (``EXQ_*``); *overrides* are fields that come first.  At the end running jobs get ``shutdown_timeout``, then are
    cancelled and put back.  What the block raises leaves as itself, never inside an ExceptionGroup.

    Raises:
        ConfigError: a setting is wrong.
        RedisUnavailable: Redis cannot be reached.
        RedisError: it refused us.
    """
    settings = load_config(config, **cast("dict[str, Any]", overrides))
    if settings.mode != {"api"}:
        settings = with_code(settings)
    opened, ending, broken = anyio.Event(), anyio.Event(), anyio.Event()
    instances: list[Exq] = []
    leaving: BaseException | None = None
    failure: BaseException | None = None
    try:
        async with anyio.create_task_group() as root:
            root.start_soon(_live, settings, instances.append, opened, ending, broken)
            try:
                # Not root.start(): who is cancelled meanwhile must tell a node that is already shielded to end.
                await opened.wait()
                yield instances[0]
            except BaseException as error:
                leaving = error  # and not raised here, where the task group would wrap it
            ending.set()
    except BaseException as error:
        failure = first_failure(error)
    if leaving is not None and not broken.is_set() and not _is_cancellation(leaving):
        raise leaving
    if failure is not None:
        raise failure
    if leaving is not None:
        raise leaving


async def _live(
    settings: Config,
    offer: Callable[[Exq], object],
    opened: anyio.Event,
    ending: anyio.Event,
    broken: anyio.Event,
) -> None:
    """One instance from its first connection to its last, as one task that its opener's cancellation does not cut.

    *broken* is set when the instance ends before it is told to: what the body meets from then on is our failure.
    """
    from .redis.connect import open_connections
    from .redis.dial import dialer
    from .redis.durability import warn_of_loss
    from .redis.keys import Keys
    from .redis.outbox import RedisOutbox

    workers = Registry.build(settings.workers, settings.imports)
    test, supply = stand_in(settings), Supply(())
    if "default" in settings.mode:
        supply = Supply.build(settings.resources) if test is None else test.supply(settings)
        workers.check(supply)
    if test is not None:
        placed = test.settings(settings)
        if placed is None:
            offer(_without_server(settings, workers, test))
            opened.set()
            return await ending.wait()
        settings = placed
    with anyio.CancelScope() as scope:
        async with AsyncExitStack() as stack:
            address = await _started(settings.address(), stack)
            keys = Keys(settings.namespace, settings.resque_queues)
            connect = partial(open_connections, address, dialer(address, settings.namespace))
            connections = await stack.enter_async_context(connect())
            await connections.check()
            adapter = settings.queue_adapter
            ours = adapter is None or isinstance(adapter, StandIn)
            outbox = RedisOutbox(connections, keys) if ours else cast("Outbox", adapter)
            api = _api(settings, connections, keys)
            if "default" not in settings.mode:
                scope.shield = True  # ends by itself, as soon as the block does
                offer(Exq(settings, workers, outbox, None, api=api))
                opened.set()
                await ending.wait()
                return
            if not isinstance(settings.address().place, Embedded):  # ours keeps nothing, and says so itself
                await warn_of_loss(connections)
            beating = partial(connect, log_level=logging.DEBUG)  # one outage is told once
            stock = await stack.enter_async_context(_stocked(supply))
            node = _node(settings, workers, stock, connections, keys, beating)
            scope.shield = True  # the node bounds its own end, and needs its connections for it
            async with anyio.create_task_group() as tasks:
                await tasks.start(node.run)
                offer(Exq(settings, workers, outbox, node, api=api))
                opened.set()
                try:
                    await ending.wait()
                except BaseException:
                    broken.set()
                    raise
                finally:
                    node.stop()


@asynccontextmanager
async def _stocked(supply: Supply) -> AsyncIterator[Stock]:
    """Hold the node's resources; to leave them takes LEAVING seconds at most."""
    with anyio.CancelScope() as scope:
        async with supply.entered() as stock:
            try:
                yield stock
            finally:
                scope.deadline = anyio.current_time() + LEAVING
    if scope.cancelled_caught:
        logger.error("the node's resources were not left in %s s, their end was cut short", LEAVING)


def _without_server(settings: Config, workers: Registry, test: StandIn) -> Exq:
    node = cast("Node | None", test.node(settings) if "default" in settings.mode else None)
    api = None if settings.mode.isdisjoint(("api", "default")) else cast("Api", test.api(settings))
    return Exq(settings, workers, test.outbox(settings, workers, None), node, test.clock, api)


async def _started(address: Address, stack: AsyncExitStack) -> Address:
    """*address*, or that of the embedded server that it asks for."""
    if not isinstance(address.place, Embedded):
        return address
    from .redis.embedded import embedded_server
    from .redis.kept import kept_server

    directory = address.place.directory
    server = await stack.enter_async_context(kept_server(directory) if directory else embedded_server())
    return attrs.evolve(address, place=Unix(server.socket))


def _api(settings: Config, connections: Connections, keys: Keys) -> Api | None:
    """The API, in the modes that offer it."""
    from .api import Api, PeriodicApi
    from .redis.keeper import RedisKeeper
    from .redis.timetable import RedisTimetable

    if settings.mode.isdisjoint(("api", "default")):
        return None
    keeper, unit = RedisKeeper(connections, keys), settings.timestamps
    periodic = PeriodicApi(RedisTimetable(connections, keys), keeper, unit, partial(template, config=settings))
    return Api(keeper, time.time, unit, periodic)


def _node(
    settings: Config,
    workers: Registry,
    stock: Stock,
    connections: Connections,
    keys: Keys,
    connect: Callable[[], AbstractAsyncContextManager[Connections]],
) -> Node:
    from .node.node import Node
    from .node.surroundings import Surroundings
    from .redis.limits import RedisLimits
    from .redis.store import RedisStore
    from .redis.timetable import RedisTimetable

    def store(connections: Connections) -> Store:
        return RedisStore(
            connections,
            keys,
            dead_max_jobs=settings.dead_max_jobs,
            dead_timeout=settings.dead_timeout_in_seconds,
            max_waits=settings.max_waiting_queues,
        )

    @asynccontextmanager
    async def open_store() -> AsyncIterator[Store]:
        async with connect() as own:
            yield store(own)

    around = Surroundings(
        store=store(connections),
        open_store=open_store,
        clock=time.time,
        chance=random.random,
        stock=stock,
        timetable=RedisTimetable(connections, keys),
        declared=declared_periodic(settings, workers),
        limits=RedisLimits(connections, keys),
    )
    middleware = default_middleware if settings.middleware is None else settings.middleware
    return Node(settings, workers, cast("tuple[Middleware, ...]", middleware), around)


def node_of(instance: Exq, what: str) -> Node:
    """The node of *instance*, for the process that steers it.  Raises WrongMode, which says that *what* needs one."""
    return instance._working(what)


def _is_cancellation(error: BaseException) -> bool:
    return isinstance(error, anyio.get_cancelled_exc_class())


def first_failure(error: BaseException) -> BaseException:
    """What happened, out of the group that a task group wraps it in: the first error that is no cancellation."""
    if isinstance(error, Interrupted):
        return error.interrupt
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [first_failure(inner) for inner in error.exceptions]
    return next((leaf for leaf in leaves if not _is_cancellation(leaf)), leaves[0])
