"""Workers: the code behind the names on the wire.

``@worker`` on a function, or a subclass of :class:`Worker`, marks code that jobs may name; a :class:`Registry` chooses
among what is marked.  Nothing that comes over the wire ever imports code.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, ParamSpec, Protocol, TypeAlias, TypedDict, TypeVar, Unpack, cast, overload

import attrs

from .activejob import wrapped_name
from .destination import Destination
from .errors import ArgumentError, ConfigError, UnknownWorker, WorkerError
from .failures import Errors, Exhausted, FailureRule, Wait, failure_rule
from .job import JSON, Job
from .parameters import Parameters
from .periodic import Cron, Every, Schedule
from .resource import Supply, named_kind
from .spec import Duration, JobOptions, JobSpec, UniqueUntil, named

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
F = TypeVar("F")

Backoff: TypeAlias = Callable[[Job, BaseException], float | None]
"""(job, error) → seconds before the next attempt, or None for what the configuration says."""


class WorkerOptions(TypedDict, total=False):
    """What ``@worker(...)`` takes; a subclass of :class:`Worker` sets the same as class attributes."""

    name: str
    """The wire name, for example ``"Reports::Monthly"``; by default that of the function."""
    queue: str
    """Where the jobs go unless they say otherwise; ``"default"``.  ``"exports:{tenant}"``: a queue for each value of
    the parameter ``tenant``, which must be text, an int or a UUID."""
    backoff: Backoff | None
    backoff_on: Mapping[type[BaseException], Wait]
    """Seconds until the next retry by class of the error; what it does not name is left to ``backoff``."""
    retry_on: Errors
    """The only errors after which a job is retried; others make it dead at once."""
    discard_on: Errors
    """Errors after which a job is over, without a place in the dead set."""
    dead_on: Errors
    """Errors after which a job is dead at once."""
    on_exhausted: Exhausted | None
    """Told of each job that is given up because it failed, before it is."""
    schedule: Schedule | None
    """When a job of it, without arguments, is enqueued by itself: ``exq.Every`` or ``exq.Cron``."""
    max_retries: int | bool | None
    timeout: Duration | None
    unique_for: Duration | None
    unique_until: UniqueUntil | None
    tags: Sequence[str]
    meta: Mapping[str, object] | None


_RULES = ("retry_on", "discard_on", "dead_on", "backoff_on")
_JOB_OPTIONS = ("max_retries", "timeout", "unique_for", "unique_until", "tags", "meta")


@attrs.frozen(kw_only=True, eq=False, slots=False)
class BoundWorker:
    """A worker with all that enqueuing and performing its jobs needs, worked out once."""

    name: str
    """The wire name."""
    code: object = attrs.field(repr=False)
    """The function or class as it was declared."""
    call: Callable[..., object] = attrs.field(repr=False)
    """Performs one job: takes the bound arguments by position.  For a class it makes a new instance each time."""
    is_async: bool
    """Whether ``call`` returns an awaitable; otherwise it blocks, and wants a thread."""
    parameters: Parameters = attrs.field(repr=False)
    queue: str
    """Where the jobs go, as it was declared."""
    destination: Destination | None = attrs.field(repr=False)
    """What says so by the arguments; None: ``queue`` does, for all."""
    options: JobOptions = attrs.field(repr=False)
    backoff: Backoff | None = attrs.field(repr=False)
    rule: FailureRule | None = attrs.field(default=None, repr=False)
    """What becomes of failed jobs, by the class of the error; None: all are retried."""
    on_exhausted: Exhausted | None = attrs.field(default=None, repr=False)
    """Told of each job that is given up because it failed."""
    schedule: Schedule | None = attrs.field(default=None, repr=False)
    """When a job of it is enqueued by itself; None: never."""

    @functools.cached_property
    def bind(self) -> Callable[[list[JSON]], tuple[object, ...]]:
        """A job's ``args`` → the arguments for ``call``; raises ArgumentError where they do not fit.

        Raises:
            WorkerError: a type hint is no type that can come out of JSON.
        """
        return self.parameters.binder()

    @functools.cached_property
    def wanted(self) -> Mapping[str, object]:
        """The types of the resources that ``call`` is given, by name; raises WorkerError when one is not known."""
        return self.parameters.wanted()

    def spec(self, args: tuple[object, ...]) -> JobSpec:
        """A job with *args*, by position; raises ArgumentError when there are too few or too many."""
        self.parameters.check(len(args))
        queue = self.queue if self.destination is None else self.destination.queue_if_any(args)
        return JobSpec(worker=self.name, args=args, queue=queue, options=self.options, declared=self)

    def job(self, *args: object, **kwargs: object) -> JobSpec:
        """A job from a call; raises ArgumentError when the call does not fit."""
        return self.spec(self.parameters.positions(args, kwargs))


def _bound(code: object, function: Callable[..., object], options: WorkerOptions) -> BoundWorker:
    name: Any = options.get("name") or function.__name__
    if not (isinstance(name, str) and name.isprintable()):
        raise WorkerError(f"{name!r} cannot be a worker's name: it must be printable text")
    if unknown := options.keys() - WorkerOptions.__annotations__.keys():
        raise WorkerError(f"{name}: a worker has no option {min(unknown)!r}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise WorkerError(f"{name}: a worker returns; a generator would never be run")
    method = isinstance(code, type) and inspect.isfunction(inspect.getattr_static(code, "perform"))
    given: Mapping[str, Any] = {option: value for option, value in options.items() if option in _JOB_OPTIONS}
    rules: Mapping[str, Any] = {option: value for option, value in options.items() if option in _RULES}
    parameters, queue = Parameters.of(name, function, skip_self=method), options.get("queue", "default")
    return BoundWorker(
        name=name,
        code=code,
        call=functools.partial(_perform, code) if isinstance(code, type) else function,
        is_async=inspect.iscoroutinefunction(function),
        parameters=parameters,
        queue=queue,
        destination=Destination.of(name, queue, parameters),
        options=named(name, lambda: JobOptions(**given)),
        backoff=_checked(name, "backoff", options.get("backoff")),
        rule=failure_rule(name, **rules),
        on_exhausted=_checked(name, "on_exhausted", options.get("on_exhausted")),
        schedule=_scheduled(name, options.get("schedule")),
    )


def _perform(code: Any, *args: object, **given: object) -> object:
    return code().perform(*args, **given)


def _scheduled(name: str, schedule: Schedule | None) -> Schedule | None:
    if not isinstance(cast("object", schedule), Every | Cron | None):
        raise WorkerError(f"{name}: schedule must be exq.Every(...) or exq.Cron(...), not {schedule!r}")
    return schedule


def _checked(name: str, option: str, function: F) -> F:
    try:
        if function is not None:
            inspect.signature(cast("Callable[..., object]", function)).bind(None, None)
    except TypeError:
        raise WorkerError(f"{name}: {option} must be a function of (job, error), in a class a static method") from None
    return function


# Functions


class FunctionWorker(Generic[P, R]):
    """A function that jobs may name.  Calling it calls the function; :meth:`job` makes a job of the call."""

    def __init__(self, function: Callable[P, R], options: WorkerOptions) -> None:
        if not inspect.isroutine(cast(object, function)):
            raise WorkerError(f"@worker marks functions, not {function!r}; for a class, subclass Worker")
        functools.update_wrapper(self, function)
        self._function = function
        self.bound: BoundWorker = _bound(self, function, options)
        """All that performing needs."""
        _mark(self.bound, self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself."""
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<worker {self.name!r}: {_described(self)}>"

    @property
    def name(self) -> str:
        """The wire name."""
        return self.bound.name

    @property
    def queue(self) -> str:
        """Where the jobs go unless they say otherwise."""
        return self.bound.queue

    @property
    def options(self) -> JobOptions:
        """What is the same for all its jobs."""
        return self.bound.options

    def job(self, *args: P.args, **kwargs: P.kwargs) -> JobSpec:
        """A job that will make this call: arguments by name are put in their positions.

        Raises:
            ArgumentError: the call does not fit the function.
        """
        return self.bound.job(*args, **kwargs)


class Marker(Protocol):
    """``@worker(...)`` with options, about to be put on a function."""

    def __call__(self, function: Callable[P, R], /) -> FunctionWorker[P, R]:
        """Mark *function*."""
        ...


@overload
def worker(function: Callable[P, R], /) -> FunctionWorker[P, R]: ...
@overload
def worker(**options: Unpack[WorkerOptions]) -> Marker: ...
def worker(function: Callable[..., object] | None = None, /, **options: Unpack[WorkerOptions]) -> object:
    """Mark a function as a worker: an ``async def``, or a ``def`` that is run in a thread.

    Raises:
        WorkerError: it has keyword-only parameters that are not given, or ``**kwargs``; it is a generator, or no
            function.
        ArgumentError: an option is out of range; ``path`` is its name.
    """
    if function is None:
        return lambda decorated: FunctionWorker(decorated, options)
    return FunctionWorker(function, options)


# Classes


class SupportsPerform(Protocol[P]):
    """Anything with a method ``perform``."""

    def perform(self, *args: P.args, **kwargs: P.kwargs) -> object:
        """Do the job."""
        ...


class JobMaker:
    """``MyWorker.job``: it takes what ``MyWorker.perform`` takes, also for a type checker."""

    def __get__(self, instance: object, owner: type[SupportsPerform[P]]) -> Callable[P, JobSpec]:
        """Return what makes jobs for *owner*."""
        return lambda *args, **kwargs: _bound_class(owner).job(*args, **kwargs)


class Worker:
    """Base class of workers: a subclass defines ``perform``, as ``async def`` or as ``def`` that is run in a thread.

    Every job gets a new instance, made without arguments.  A subclass without a ``perform``, or with an abstract one,
    is a base for others.
    """

    worker_name: ClassVar[str]
    """The wire name; by default that of the class.  Not inherited."""
    queue: ClassVar[str] = "default"
    max_retries: ClassVar[int | bool | None] = None
    retry_on: ClassVar[Errors] = ()
    discard_on: ClassVar[Errors] = ()
    dead_on: ClassVar[Errors] = ()
    backoff_on: ClassVar[Mapping[type[BaseException], Wait]] = types.MappingProxyType({})
    schedule: ClassVar[Schedule | None] = None
    timeout: ClassVar[Duration | None] = None
    unique_for: ClassVar[Duration | None] = None
    unique_until: ClassVar[UniqueUntil | None] = None
    tags: ClassVar[Sequence[str]] = ()
    meta: ClassVar[Mapping[str, object] | None] = None
    job: ClassVar[JobMaker] = JobMaker()
    """Make a job: takes what ``perform`` takes; raises ArgumentError when the call does not fit."""

    @staticmethod
    def backoff(job: Job, error: BaseException) -> float | None:
        """Seconds to wait before the next attempt; None for what the configuration says."""
        return None

    @staticmethod
    def on_exhausted(job: Job, error: BaseException) -> object:
        """Told of each job that is given up because it failed; may be an ``async def``, else it runs in a thread."""
        return None

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls.worker_name = cls.__dict__.get("worker_name") or cls.__name__
        if _performs(cls):
            _mark(_bound_class(cls), cls)


def _performs(cls: type) -> bool:
    perform = getattr(cls, "perform", None)
    return callable(perform) and not (inspect.isabstract(cls) or getattr(perform, "__isabstractmethod__", False))


def _bound_class(cls: type) -> BoundWorker:
    """What performs the jobs of *cls*: a Worker, or any class that has a ``perform`` (as in Exq)."""
    bound = cls.__dict__.get("__bound_worker__")
    # attrs makes a class anew to give it slots, and copies what the first one held.
    if isinstance(bound, BoundWorker) and bound.code is cls:
        return bound
    if not _performs(cls):
        raise WorkerError(f"{_described(cls)} defines no method `perform`, or is abstract: it cannot perform jobs")
    options = WorkerOptions(name=cls.__name__)
    if issubclass(cls, Worker):
        own = {option: getattr(cls, option) for option in ("queue", "schedule", *_JOB_OPTIONS, *_RULES)}
        for option in ("backoff", "on_exhausted"):
            said = getattr(cls, option)
            own[option] = None if said is getattr(Worker, option) else said
        options = cast(WorkerOptions, {**own, "name": cls.worker_name})
    bound = _bound(cls, cast("type[SupportsPerform[...]]", cls).perform, options)
    cls.__bound_worker__ = bound  # type: ignore[attr-defined]  # the class is the user's
    return bound


# Names


_marked: weakref.WeakValueDictionary[tuple[str, str, str], Any] = weakref.WeakValueDictionary()


def _mark(bound: BoundWorker, code: Any) -> None:
    _marked[code.__module__, code.__qualname__, bound.name] = code


def marked_workers() -> list[FunctionWorker[..., object] | type[Worker]]:
    """All that is marked so far, in order, and still in use somewhere: the list itself keeps nothing alive.

    What is marked again under the same name in the same place (a reloaded module, a class that attrs makes anew to
    give it slots) replaces what was there.
    """
    return list(_marked.values())


@attrs.frozen
class Registry:
    """The workers of one instance, by their wire names."""

    workers: Mapping[str, BoundWorker]

    @classmethod
    def build(cls, workers: Iterable[object] | None = None, imports: Iterable[str] = ()) -> Registry:
        """Choose workers.

        *workers* are marked functions, classes with a ``perform``, modules, or names of modules to import, and
        *imports* such names: a module stands for all workers that it and, if it is a package, its loaded modules hold.
        With neither, all that is marked so far.

        Raises:
            ConfigError: a module cannot be imported.
            WorkerError: two workers have the same name, something is no worker, or a type hint is not of JSON.
        """
        chosen = [_imported("workers", entry) if isinstance(entry, str) else entry for entry in workers or ()]
        chosen += [_imported("imports", name) for name in imports]
        if workers is None and not chosen:
            chosen = [*marked_workers()]
        found: dict[str, BoundWorker] = {}
        for bound in _all_bound(chosen):
            other = found.setdefault(bound.name, bound)
            if other is not bound:
                raise WorkerError(
                    f"{bound.name!r} is the name of two workers, {_described(other.code)} and "
                    f"{_described(bound.code)}; rename one"
                )
            bound.bind  # noqa: B018  # worked out now: a wrong hint stops the start, not the job
        return cls(found)

    def check(self, supply: Supply) -> None:
        """Raise WorkerError unless *supply* has all resources that the workers ask for."""
        for worker in self.workers.values():
            for name, kind in worker.wanted.items():
                if kind not in supply.kinds:
                    raise WorkerError(
                        f"{worker.name}: no resource gives {name!r} a {named_kind(kind)}; add one to "
                        "Config.resources, or have Config.workers leave the worker out"
                    )

    def find(self, name: str) -> BoundWorker:
        """The worker called *name* on the wire; raises UnknownWorker."""
        try:
            return self.workers[name]
        except KeyError:
            raise UnknownWorker(name) from None

    def worker_of(self, job: Job) -> BoundWorker:
        """The worker that performs *job*, for a job of ActiveJob that of its class; raises UnknownWorker."""
        try:
            return self.workers[job.worker]
        except KeyError:
            # Only what is not found is looked at twice: other jobs pay nothing for this.
            return self.find(wrapped_name(job) or job.worker)


def _imported(key: str, name: str) -> types.ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise ConfigError(key, f"cannot import {name!r}: {error}") from error


def _all_bound(chosen: Iterable[object]) -> Iterator[BoundWorker]:
    for entry in chosen:
        if isinstance(entry, types.ModuleType):
            yield from map(_bound_code, _held(entry))
        else:
            yield _bound_code(entry)


def _bound_code(code: object) -> BoundWorker:
    if isinstance(code, FunctionWorker):
        return code.bound
    if isinstance(code, type):
        return _bound_class(code)
    raise WorkerError(f"{code!r} is no worker: mark a function with @worker, or give a class with `perform`")


def _held(module: types.ModuleType) -> Iterator[object]:
    loaded = [held for name, held in sorted(sys.modules.items()) if name.startswith(f"{module.__name__}.")]
    for holder in (module, *loaded):
        for value in list(vars(holder).values()):
            is_class = isinstance(value, type) and issubclass(value, Worker) and _performs(value)
            if isinstance(value, FunctionWorker) or is_class:
                yield value


def _described(code: Any) -> str:
    return f"{code.__module__}.{code.__qualname__}"


def queue_of(spec: JobSpec) -> str:
    """Where *spec* goes; raises ArgumentError when an argument on which that depends can be no part of a name."""
    worker = spec.declared
    if isinstance(worker, BoundWorker) and worker.destination is not None and spec.queue == worker.queue:
        return worker.destination.queue(spec.args)
    return spec.queue


def to_spec(
    worker: str | FunctionWorker[..., object] | type, args: Sequence[object], registry: Registry | None
) -> JobSpec:
    """The job that calls *worker* (a class, a marked function, or a wire name) with *args*.

    A name that *registry* does not know is another program's worker: nothing is checked.

    Raises:
        ArgumentError: *args* is no sequence, or has too few or too many values.
        WorkerError: *worker* is none of these.
    """
    if isinstance(worker, str):
        name, bound = worker, registry.workers.get(worker) if registry else None
    else:
        bound = _bound_code(worker)
        name = bound.name
    if not name:
        raise WorkerError("a worker's name cannot be empty")
    if isinstance(args, str | bytes | Mapping) or not isinstance(args, Sequence):
        raise ArgumentError(name, "args", f"must be a list or a tuple, not {type(args).__qualname__}")
    return bound.spec(tuple(args)) if bound else JobSpec(worker=name, args=tuple(args))
