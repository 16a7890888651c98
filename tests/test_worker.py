"""Workers are declared, chosen and found by name, and make jobs of calls."""

from __future__ import annotations

import abc
import datetime as dt
import functools
import gc
import inspect
import sys
import types
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exq_anyio.errors import ArgumentError, ConfigError, ExqError, UnknownWorker, WorkerError
from exq_anyio.job import Job
from exq_anyio.spec import JobOptions, JobSpec, unstructure_args
from exq_anyio.worker import FunctionWorker, Registry, Worker, marked_workers, to_spec, worker


@worker
async def send_welcome(user_id: int, template: str = "hi", *ccs: str) -> str:
    """Say hello."""
    return f"{template} {user_id}"


@worker(
    name="Reports::Monthly",
    queue="mail",
    max_retries=5,
    timeout=dt.timedelta(minutes=1),
    backoff=lambda job, error: 3.0,
    unique_for=60,
    unique_until="start",
    tags=["slow"],
    meta={"team": uuid.UUID(int=1)},
)
def monthly(month: dt.date, draft: bool = False, copies: int = 1) -> dt.date:
    return month


class Resize(Worker):
    queue = "images"
    max_retries = False
    tags = ("cpu",)

    def __init__(self) -> None:
        self.calls = 0

    async def perform(self, path: str, width: int = 100) -> tuple[str, int, int]:
        self.calls += 1
        return path, width, self.calls

    @staticmethod
    def backoff(job: object, error: BaseException) -> float:
        return 7.0


class Base(Worker, abc.ABC):
    queue = "low"

    @abc.abstractmethod
    def perform(self, value: int) -> int: ...


class Concrete(Base):
    worker_name = "Deep::Concrete"

    def perform(self, value: int) -> int:
        return value


class Inherited(Concrete): ...


class Plain:
    """As in Exq: any class with a `perform`."""

    def perform(self, a: int) -> int:
        return a


# Declaring


def test_a_marked_function_is_called_as_before() -> None:
    assert anyio.run(send_welcome, 7) == "hi 7"
    assert monthly(dt.date(2026, 1, 1)) == dt.date(2026, 1, 1)


def test_a_marked_function_looks_like_the_function() -> None:
    assert (send_welcome.__name__, send_welcome.__doc__) == ("send_welcome", "Say hello.")  # type: ignore[attr-defined]  # a function of the user, in all but type
    assert send_welcome.__module__ == __name__
    assert inspect.signature(send_welcome) == inspect.signature(inspect.unwrap(send_welcome))
    assert repr(monthly) == f"<worker 'Reports::Monthly': {__name__}.monthly>"


def test_a_worker_is_called_after_its_code_and_uses_the_default_queue() -> None:
    assert (send_welcome.name, send_welcome.queue, send_welcome.options) == ("send_welcome", "default", JobOptions())
    assert (Resize.worker_name, Resize.queue) == ("Resize", "images")


def test_a_worker_has_the_options_that_it_is_declared_with() -> None:
    assert (monthly.name, monthly.queue) == ("Reports::Monthly", "mail")
    assert monthly.options == JobOptions(
        max_retries=5,
        timeout=60.0,
        unique_for=60.0,
        unique_until="start",
        tags=("slow",),
        meta={"team": "00000000-0000-0000-0000-000000000001"},
    )
    assert monthly.bound.backoff is not None
    assert monthly.bound.backoff(Job.decode(b'{"class": "Reports::Monthly", "args": []}', "mail"), ValueError()) == 3.0


def test_a_class_has_the_options_of_its_attributes() -> None:
    found = Registry.build([Resize, Concrete])
    assert found.find("Resize").options == JobOptions(max_retries=False, tags=("cpu",))
    assert found.find("Resize").backoff is Resize.backoff
    assert found.find("Deep::Concrete").queue == "low"
    assert found.find("Deep::Concrete").backoff is None


def test_a_class_inherits_options_but_not_the_name() -> None:
    assert Inherited.worker_name == "Inherited"
    assert Inherited.job(1) == JobSpec(worker="Inherited", args=(1,), queue="low")


async def keyword_only(a: int, *, b: int = 1) -> None: ...
async def double_star(**rest: int) -> None: ...
async def doubtful() -> AsyncIterator[int]:
    yield 1


def generator() -> Iterator[int]:
    yield 1


def noop() -> None: ...


@pytest.mark.parametrize(
    ("mark", "code", "problem"),
    [
        (worker, keyword_only, "keyword_only: b can only be given by name"),
        (worker, double_star, r"double_star: \*\*rest can only be given by name"),
        (worker, generator, "generator: a worker returns"),
        (worker, doubtful, "doubtful: a worker returns"),
        (worker, Resize, "subclass Worker"),
        (worker, 5, "@worker marks functions, not 5"),
        (worker, functools.partial(print), "marks functions"),
        (worker(name="two\nlines"), noop, "printable"),
        (worker(name=5), noop, "5 cannot be a worker's name"),  # type: ignore[call-overload]  # as untyped code calls it
        (worker(quene="x"), keyword_only, "keyword_only: a worker has no option 'quene'"),  # type: ignore[call-overload]  # as untyped code calls it
        (worker(backoff=lambda job: 1.0), noop, "noop: backoff must be a function of"),  # type: ignore[arg-type, misc]
        (worker(backoff=5), noop, "noop: backoff must be a function of"),  # type: ignore[call-overload]  # as untyped code calls it
    ],
)
def test_code_that_cannot_be_a_worker_is_refused_where_it_is_declared(
    mark: Callable[..., object], code: object, problem: str
) -> None:
    with pytest.raises(WorkerError, match=problem):
        mark(code)


def test_a_class_whose_perform_breaks_a_rule_is_refused_where_it_is_declared() -> None:
    with pytest.raises(WorkerError, match="Wrong: b can only be given by name"):

        class Wrong(Worker):
            def perform(self, *, b: int) -> None: ...


@pytest.mark.parametrize(
    ("options", "path", "problem"),
    [
        ({"max_retries": -1}, "max_retries", "0 or more"),
        ({"max_retries": "5"}, "max_retries", "0 or more"),
        ({"timeout": 0}, "timeout", "above 0"),
        ({"timeout": True}, "timeout", "above 0"),
        ({"unique_for": float("nan")}, "unique_for", "above 0"),
        ({"unique_for": 10**400}, "unique_for", "above 0"),
        ({"unique_until": "later"}, "unique_until", "'success', 'start' or 'expiry'"),
        ({"tags": "slow"}, "tags", "not one string"),
        ({"tags": [1]}, "tags", "a sequence of strings"),
        ({"meta": {"a": b""}}, "meta.a", "bytes"),
        ({"meta": [1]}, "meta", "mapping"),
    ],
)
def test_an_option_out_of_range_is_an_error_that_names_it(options: dict[str, Any], path: str, problem: str) -> None:
    for make in (lambda: worker(**options)(noop), lambda: send_welcome.job(1).on(**options)):
        with pytest.raises(ArgumentError) as caught:
            make()
        assert caught.value.worker in ("noop", "send_welcome")
        assert (caught.value.path, problem in caught.value.problem) == (path, True)


def test_a_class_without_perform_is_a_base_and_makes_no_jobs() -> None:
    class Empty(Worker): ...

    assert callable(Empty.job)  # type: ignore[arg-type]  # to a type checker it is not even there
    for base in (Empty, Base):
        with pytest.raises(WorkerError, match="defines no method `perform`, or is abstract"):
            to_spec(base, [1], None)
    assert not {Empty, Base} & {code for code in marked_workers() if isinstance(code, type)}


def test_a_class_with_another_abstract_method_is_a_base_too() -> None:
    class Half(Worker, abc.ABC):
        def perform(self) -> None: ...

        @abc.abstractmethod
        def hook(self) -> None: ...

    with pytest.raises(WorkerError, match="abstract"):
        Half.job()
    assert Half.worker_name not in Registry.build([sys.modules[__name__]]).workers


# Jobs


def test_a_call_becomes_a_job() -> None:
    assert send_welcome.job(7) == JobSpec(worker="send_welcome", args=(7,))
    assert Resize.job("a.png", 5) == JobSpec(
        worker="Resize", args=("a.png", 5), queue="images", options=JobOptions(max_retries=False, tags=("cpu",))
    )
    assert Resize().job("a.png") == Resize.job("a.png")


@pytest.mark.parametrize(
    ("spec", "args"),
    [
        (send_welcome.job(user_id=7), (7,)),
        (send_welcome.job(7, template="yo"), (7, "yo")),
        (send_welcome.job(template="yo", user_id=7), (7, "yo")),
        (send_welcome.job(7, "yo", "a", "b"), (7, "yo", "a", "b")),
        (monthly.job(dt.date(2026, 1, 1), copies=2), (dt.date(2026, 1, 1), False, 2)),
        (monthly.job(dt.date(2026, 1, 1), draft=True), (dt.date(2026, 1, 1), True)),
        (Resize.job(width=5, path="a"), ("a", 5)),
    ],
)
def test_arguments_by_name_go_to_their_positions_and_gaps_get_the_defaults(
    spec: JobSpec, args: tuple[Any, ...]
) -> None:
    assert spec.args == args


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: send_welcome.job(), "send_welcome: takes at least 1 argument, 0 were given"),  # type: ignore[call-arg]  # as untyped code calls it
        (lambda: monthly.job(*range(4)), "Reports::Monthly: takes 1 to 3 arguments, 4 were given"),
        (lambda: Concrete.job(), "Deep::Concrete: takes 1 argument, 0 were given"),  # type: ignore[call-arg]  # as untyped code calls it
        (lambda: Resize.job(colour=1), "Resize: missing a required argument: 'path'"),  # type: ignore[call-arg]  # as untyped code calls it
        (lambda: Resize.job("a", path="b"), "Resize: multiple values for argument 'path'"),  # type: ignore[misc]  # as untyped code calls it
        (lambda: Resize.job("a", colour=1), "Resize: got an unexpected keyword argument 'colour'"),  # type: ignore[call-arg]  # as untyped code calls it
    ],
)
def test_a_call_that_does_not_fit_is_refused_in_the_caller(call: Callable[[], object], problem: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        call()
    assert str(caught.value) == problem


@given(st.data())
def test_a_call_by_name_performs_what_the_call_itself_would(data: st.DataObject) -> None:
    def perform(a: object, b: object = "b", c: object = "c", d: object = "d") -> tuple[object, ...]:
        return a, b, c, d

    marked = FunctionWorker(perform, {})
    by_name = data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys("bcd", st.integers())))
    spec = marked.job(0, **by_name)
    assert perform(*spec.args) == perform(0, **by_name)
    assert len(spec.args) == 1 + max(("bcd".index(name) + 1 for name in by_name), default=0)


def test_options_are_set_one_by_one_and_the_others_stay() -> None:
    spec = monthly.job(dt.date(2026, 1, 1)).on(queue="low", after=dt.timedelta(minutes=5), jid="j", backtrace=3)
    assert (spec.queue, spec.options.after, spec.options.jid, spec.options.extra) == (
        "low",
        300.0,
        "j",
        {"backtrace": 3},
    )
    assert (spec.options.max_retries, spec.options.timeout) == (5, 60.0)
    again = spec.on(timeout=None, max_retries=0, unique_token="t", dead=False)
    assert (again.queue, again.options.jid, again.options.unique_token) == ("low", "j", "t")
    assert (again.options.timeout, again.options.max_retries) == (None, 0)
    assert again.options.extra == {"backtrace": 3, "dead": False}
    assert monthly.job(dt.date(2026, 1, 1)).options == monthly.options
    assert spec.on() == spec


def test_after_and_at_replace_each_other() -> None:
    when = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    later = send_welcome.job(1).on(after=5)
    assert (later.on(at=when).options.after, later.on(at=when).options.at) == (None, when)
    assert later.on(at=when).on(after=1).options == JobOptions(after=1)
    with pytest.raises(ArgumentError, match="send_welcome at: cannot be given together with `after`"):
        send_welcome.job(1).on(at=when, after=1)


def test_an_instant_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ArgumentError, match="send_welcome at: must be a datetime with a time zone"):
        send_welcome.job(1).on(at=dt.datetime(2026, 1, 1))


@pytest.mark.parametrize("name", ["class", "args", "retry", "enqueued_at", "jid"])
def test_extra_fields_cannot_overwrite_what_makes_the_job(name: str) -> None:
    with pytest.raises(ArgumentError, match=f"{name}: is no extra field"):
        JobOptions(extra={name: 1})


def test_extra_fields_are_plain_json() -> None:
    assert send_welcome.job(1).on(since=dt.date(2026, 1, 1)).options.extra == {"since": "2026-01-01"}
    with pytest.raises(ArgumentError, match=r"send_welcome extra\.x: JSON cannot say bytes"):
        send_welcome.job(1).on(x=b"")


def test_the_arguments_of_a_job_become_json() -> None:
    assert unstructure_args(monthly.job(dt.date(2026, 1, 1), copies=2)) == ["2026-01-01", False, 2]
    with pytest.raises(ArgumentError, match=r"^send_welcome args\[0\]\.a: JSON cannot say bytes"):
        unstructure_args(JobSpec(worker="send_welcome", args=({"a": b""},)))


# Choosing and finding


def module(name: str, **held: object) -> types.ModuleType:
    made = types.ModuleType(name)
    vars(made).update(held)
    return made


def test_a_module_stands_for_the_workers_that_it_holds() -> None:
    found = Registry.build([sys.modules[__name__]])
    names = {"send_welcome", "Reports::Monthly", "Resize", "Deep::Concrete", "Inherited"}
    assert set(found.workers) == names


def test_a_package_stands_for_its_loaded_modules_too(monkeypatch: pytest.MonkeyPatch) -> None:
    package = module("jobs")
    monkeypatch.setitem(sys.modules, "jobs", package)
    monkeypatch.setitem(sys.modules, "jobs.mail", module("jobs.mail", send_welcome=send_welcome, again=send_welcome))
    monkeypatch.setitem(sys.modules, "jobs_elsewhere", module("jobs_elsewhere", Resize=Resize))
    for found in (Registry.build([package]), Registry.build(["jobs"]), Registry.build(imports=["jobs"])):
        assert set(found.workers) == {"send_welcome"}


def test_workers_and_imports_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jobs", module("jobs", Resize=Resize))
    assert set(Registry.build([Plain, monthly], ["jobs"]).workers) == {"Plain", "Reports::Monthly", "Resize"}


def test_no_workers_at_all_may_be_chosen() -> None:
    assert Registry.build(()).workers == {}


@pytest.mark.parametrize("key", ["workers", "imports"])
def test_a_module_that_cannot_be_imported_is_named(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: cannot import 'no_such_module_here': No module named") as caught:
        Registry.build(**{key: ["no_such_module_here"]})
    assert (caught.value.key, type(caught.value.__cause__)) == (key, ModuleNotFoundError)


def test_what_is_no_worker_cannot_be_chosen() -> None:
    for entry, problem in [(print, "mark a function with @worker"), (int, "builtins.int defines no method `perform`")]:
        with pytest.raises(WorkerError, match=problem):
            Registry.build([entry])


def test_one_name_for_two_workers_is_an_error_that_names_both() -> None:
    first = FunctionWorker(noop, {"name": "Resize"})
    with pytest.raises(WorkerError) as caught:
        Registry.build([first, Resize])
    assert str(caught.value) == (
        f"'Resize' is the name of two workers, {__name__}.noop and {__name__}.Resize; rename one"
    )
    assert len(Registry.build([Resize, Resize]).workers) == 1


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(UnknownWorker, match="no worker is registered as 'Nope'"):
        Registry.build(()).find("Nope")


def test_a_hint_that_cannot_be_made_stops_the_start() -> None:
    def perform(value: NotThere) -> None: ...  # type: ignore[name-defined]  # noqa: F821  # a name that only type checkers would see

    with pytest.raises(WorkerError, match=r"perform: the type hint of 'value' .*'NotThere' is not defined"):
        Registry.build([worker(perform)])


def test_without_a_choice_all_that_is_marked_is_taken_and_nothing_is_kept_alive() -> None:
    def count() -> int:
        gc.collect()
        return sum(getattr(code, "__name__", "") in ("fleeting", "Fleeting") for code in marked_workers())

    @worker
    def fleeting() -> None: ...

    class Fleeting(Worker):
        def perform(self) -> None: ...

    assert count() == 2
    assert {"fleeting", "Fleeting", "Resize", "send_welcome"} <= set(Registry.build().workers)
    del fleeting, Fleeting
    assert count() == 0


def test_a_class_that_is_made_anew_with_slots_is_one_worker() -> None:
    @attrs.define
    class Slotted(Worker):
        state: int = 0

        def perform(self) -> object:
            return type(self)

    assert [code for code in marked_workers() if getattr(code, "__name__", "") == "Slotted"] == [Slotted]
    found = Registry.build().find("Slotted")
    assert (found.code, found.call()) == (Slotted, Slotted)


def test_redefining_a_worker_in_the_same_place_replaces_it() -> None:
    def define() -> FunctionWorker[[], None]:
        @worker
        def again() -> None: ...

        return again

    _, second = define(), define()
    assert Registry.build().find("again").code is second


# Performing


def test_every_job_gets_a_new_instance() -> None:
    found = Registry.build([Resize, Plain, monthly]).find

    async def perform() -> list[object]:
        call: Any = found("Resize").call
        return [await call("a"), await call("b", 5)]

    assert anyio.run(perform) == [("a", 100, 1), ("b", 5, 1)]
    assert found("Plain").call(5) == 5
    assert [found(name).is_async for name in ("Resize", "Plain", "Reports::Monthly")] == [True, False, False]


def test_static_and_class_methods_perform_too() -> None:
    class Static(Worker):
        @staticmethod
        def perform(a: int) -> int:
            return a

    class Method(Worker):
        @classmethod
        def perform(cls, a: int) -> int:
            return a

    for code in (Static, Method):
        found = Registry.build([code]).find(code.__name__)
        assert found.call(*found.bind([5])) == 5
        with pytest.raises(ArgumentError, match="takes 1 argument, 2 were given"):
            found.bind([1, 2])


def test_plain_arguments_are_bound_as_they_are() -> None:
    args: list[Any] = [7, "x", "y"]
    bound = Registry.build([send_welcome]).find("send_welcome").bind(args)
    assert bound == (7, "x", "y")
    assert all(one is other for one, other in zip(args, bound, strict=True))


def test_arguments_are_made_by_the_hints() -> None:
    assert Registry.build([monthly]).find("Reports::Monthly").bind(["2026-01-01", True]) == (dt.date(2026, 1, 1), True)


@pytest.mark.parametrize("args", [[], ["secret", 2, 3, 4]])
def test_the_number_of_arguments_is_checked_first_and_told_without_them(args: list[Any]) -> None:
    with pytest.raises(ArgumentError) as caught:
        Registry.build([monthly]).find("Reports::Monthly").bind(args)
    assert str(caught.value) == f"Reports::Monthly: takes 1 to 3 arguments, {len(args)} were given"


# Enqueuing by name, class or function


def test_a_worker_is_named_by_name_class_or_function() -> None:
    registry = Registry.build([Resize, send_welcome])
    assert to_spec("Resize", ["a"], registry) == to_spec(Resize, ("a",), None) == Resize.job("a")
    assert to_spec(send_welcome, [1, "x"], registry) == send_welcome.job(1, "x")
    assert to_spec(Plain, [1], None) == JobSpec(worker="Plain", args=(1,))


def test_the_number_of_arguments_of_a_known_worker_is_checked() -> None:
    for code, registry in ((Resize, None), ("Resize", Registry.build([Resize]))):
        with pytest.raises(ArgumentError, match="Resize: takes 1 to 2 arguments, 3 were given"):
            to_spec(code, [1, 2, 3], registry)


def test_an_unknown_name_is_another_programs_worker() -> None:
    for registry in (None, Registry.build(())):
        assert to_spec("Ruby::Job", [1, 2], registry) == JobSpec(worker="Ruby::Job", args=(1, 2))


@pytest.mark.parametrize(
    ("code", "args", "problem"),
    [
        ("W", "abc", r"W args: must be a list or a tuple, not str"),
        ("W", {"a": 1}, r"W args: must be a list or a tuple, not dict"),
        (Resize, 5, r"Resize args: must be a list or a tuple, not int"),
        ("", [], "cannot be empty"),
        (5, [], "5 is no worker"),
        (print, [], "mark a function with @worker"),
    ],
)
def test_what_cannot_be_enqueued_is_an_error_in_the_caller(code: Any, args: Any, problem: str) -> None:
    with pytest.raises(ExqError, match=problem):
        to_spec(code, args, None)
