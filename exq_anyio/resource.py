"""Resources: what a job is given beside its arguments, by type, for as long as the node lives or the job runs.

A worker asks for one with a parameter that only has a name, ``*, session: Session = exq.given``; ``Config.resources``
says who gives it.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import typing
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Generic, Literal, ParamSpec, Protocol, TypeAlias, TypeVar, get_args, get_origin, overload

import attrs

from .errors import ConfigError
from .job import Job

P = ParamSpec("P")
T = TypeVar("T", covariant=True)

ResourceScope: TypeAlias = Literal["node", "job"]
"""How long a resource is held: as long as the node lives, or while one job runs."""


class _Given:
    """The class of :data:`given`."""

    def __repr__(self) -> str:
        return "given"

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        raise LookupError(f"asked for .{name} of what only a job is given: a call of your own has to pass it by name")


given: Any = _Given()
"""The default of a worker's parameter that is no argument of the job: a resource of its type is given instead."""


class Resource(Generic[P, T]):
    """What gives a resource; made by :func:`resource`.  Calling it makes the context manager, as for a test."""

    def __init__(self, function: Callable[P, AsyncIterator[T]], per: ResourceScope = "node") -> None:
        if not inspect.isasyncgenfunction(function):
            raise ConfigError("resources", f"{_described(function)} must be an `async def` that yields the resource")
        if per not in get_args(ResourceScope):
            raise ConfigError("resources", f'{_described(function)}: per must be "node" or "job", not {per!r}')
        functools.update_wrapper(self, function)
        self._enter = asynccontextmanager(function)
        self.per: ResourceScope = per
        """How long it is held."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[T]:
        """Return a context manager that holds one."""
        return self._enter(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<resource {_described(self)}, one for each {self.per}>"

    @functools.cached_property
    def kind(self) -> object:
        """The type that it yields.  Raises ConfigError when that is not said."""
        hint = self._hints.get("return")
        if get_origin(hint) not in (AsyncIterator, AsyncGenerator) or get_args(hint)[0] in (Any, object):
            raise ConfigError("resources", f"{_described(self)} must say what it yields: `-> AsyncIterator[Type]`")
        return get_args(hint)[0]

    @functools.cached_property
    def needs(self) -> Mapping[str, object]:
        """The types of its parameters, by name; each is given too.  Raises ConfigError when one has no type."""
        names = inspect.signature(inspect.unwrap(self)).parameters
        for name in names:
            if name not in self._hints:
                raise ConfigError("resources", f"{_described(self)}: {name} must have a type, by which it is given")
        return {name: self._hints[name] for name in names}

    @functools.cached_property
    def _hints(self) -> Mapping[str, object]:
        try:
            return typing.get_type_hints(inspect.unwrap(self), include_extras=True)
        except Exception as error:
            raise ConfigError("resources", f"the types of {_described(self)} are not known: {error}") from error


class ResourceMarker(Protocol):
    """``@resource(...)`` with options, about to be put on a function."""

    def __call__(self, function: Callable[P, AsyncIterator[T]], /) -> Resource[P, T]:
        """Make a resource of *function*."""
        ...


@overload
def resource(function: Callable[P, AsyncIterator[T]], /) -> Resource[P, T]: ...
@overload
def resource(*, per: ResourceScope = "node") -> ResourceMarker: ...
def resource(function: Callable[..., AsyncIterator[object]] | None = None, /, *, per: ResourceScope = "node") -> object:
    """Make a resource of an ``async def`` that yields once: what is before is done first, what is after at the end.

    It is given to whatever asks for the type that it yields.  Its own parameters are given in the same way, from
    resources that come before it in ``Config.resources``; with ``per="job"`` also the :class:`~exq_anyio.Job`.  One
    for the node is entered before the first job is taken, and left after the last outcome.  One for a job is entered
    inside the job's middleware, when its worker asks for it, and sees the job's error at its ``yield``.

    Raises:
        ConfigError: *function* is no such function.
    """
    if function is None:
        return functools.partial(Resource, per=per)
    return Resource(function, per)


AnyResource: TypeAlias = Resource[..., object]


@attrs.frozen(eq=False)
class Stock:
    """What a node has to give to its jobs."""

    held: Mapping[object, object] = attrs.field(factory=dict[object, object], repr=False)
    """What it holds itself, by type."""
    for_jobs: Sequence[AnyResource] = ()
    """What is made for each job that asks, in the order in which it is entered."""

    @asynccontextmanager
    async def lent(self, wanted: Mapping[str, object], job: Job) -> AsyncIterator[dict[str, object]]:
        """What *job* is given: a value for each name in *wanted*, of the type that stands there."""
        held = {**self.held, Job: job}
        async with AsyncExitStack() as stack:
            for one in self._asked_for(wanted):
                held[one.kind] = await stack.enter_async_context(_made(one, held))
            yield {name: held[kind] for name, kind in wanted.items()}

    def _asked_for(self, wanted: Mapping[str, object]) -> list[AnyResource]:
        """The resources that a job needs which asks for *wanted*, and those that they need."""
        kinds, found = set(wanted.values()), list[AnyResource]()
        for one in reversed(self.for_jobs):
            if one.kind in kinds:
                found.append(one)
                kinds |= set(one.needs.values())
        return found[::-1]


@attrs.frozen(eq=False)
class Supply:
    """The resources of one instance, in the order in which they are entered; made by :meth:`build`."""

    resources: tuple[AnyResource, ...]

    @classmethod
    def build(cls, resources: Iterable[AnyResource | str]) -> Supply:
        """Find what is named ``module:name``, and check that each has what it needs.

        Raises:
            ConfigError: a name leads to no resource, two give the same type, or one needs what none before it gives.
        """
        found = tuple(_named(one) if isinstance(one, str) else one for one in resources)
        before: dict[object, AnyResource] = {}
        for one in found:
            if (other := before.get(one.kind)) is not None:
                raise ConfigError("resources", f"{_described(other)} and {_described(one)} give the same type")
            for name, kind in one.needs.items():
                _check_need(one, name, kind, before)
            before[one.kind] = one
        return cls(found)

    def replaced(self, by: Sequence[AnyResource]) -> Supply:
        """The same with *by* instead of what gives the same types, or before all others.  Raises as :meth:`build`."""
        ours, theirs = {one.kind for one in self.resources}, {one.kind: one for one in by}
        first = [one for one in by if one.kind not in ours]
        return Supply.build([*first, *(theirs.get(one.kind, one) for one in self.resources)])

    @property
    def kinds(self) -> set[object]:
        """The types that a worker may ask for."""
        return {Job, *(one.kind for one in self.resources)}

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[Stock]:
        """Hold what there is one of for the node."""
        held: dict[object, object] = {}
        async with AsyncExitStack() as stack:
            for one in self.resources:
                if one.per == "node":
                    held[one.kind] = await stack.enter_async_context(_made(one, held))
            yield Stock(held, tuple(one for one in self.resources if one.per == "job"))


def _made(one: AnyResource, held: Mapping[object, object]) -> AbstractAsyncContextManager[object]:
    return one(**{name: held[kind] for name, kind in one.needs.items()})


def _check_need(one: AnyResource, name: str, kind: object, before: Mapping[object, AnyResource]) -> None:
    if kind is Job and one.per == "job":
        return
    if kind not in before:
        raise ConfigError(
            "resources",
            f"{_described(one)} needs {named_kind(kind)} as {name!r}, which no resource before it gives; add one that "
            f"yields it, or put that one first",
        )
    if one.per == "node" and before[kind].per == "job":
        raise ConfigError(
            "resources", f"{_described(one)} lives as long as the node, and cannot hold {named_kind(kind)} of one job"
        )


def find_named(key: str, name: str) -> object:
    """What *name*, ``module:name``, stands for.

    Raises:
        ConfigError: for the setting *key*: there is no such thing, or its module cannot be imported.
    """
    module, _, path = name.partition(":")
    try:
        found: object = functools.reduce(getattr, path.split("."), importlib.import_module(module))
    except Exception as error:
        raise ConfigError(key, f"cannot import {name!r} (module:name): {error}") from error
    return found


def _named(name: str) -> AnyResource:
    found = find_named("resources", name)
    if not isinstance(found, Resource):
        raise ConfigError("resources", f"{name!r} is no resource; make it one with @exq.resource")
    return found


def named_kind(kind: object) -> str:
    """What a type is called in an error."""
    return kind.__qualname__ if isinstance(kind, type) else repr(kind)


def _described(code: Any) -> str:
    module, name = getattr(code, "__module__", None), getattr(code, "__qualname__", None)
    return f"{module}.{name}" if module and name else repr(code)
