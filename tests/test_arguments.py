"""Arguments go to JSON and come back as what the worker's hints say, or are refused with the place of the fault."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import pathlib
import subprocess
import sys
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypeAliasType

from exq_anyio.arguments import MAX_DEPTH, args_to_json, is_json, to_json
from exq_anyio.errors import ArgumentError, WorkerError
from exq_anyio.job import JSON
from exq_anyio.parameters import Parameters

T = TypeVar("T")
UserId = NewType("UserId", int)
Names = TypeAliasType("Names", list[str])
Days = TypeAliasType("Days", list[dt.date])


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Point(NamedTuple):
    x: int
    y: float


class Movie(TypedDict):
    title: str
    released: dt.date


@attrs.frozen
class Item:
    name: str
    price: decimal.Decimal
    tags: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Address:
    street: str
    since: dt.date | None = None


@attrs.define
class Order:
    id: uuid.UUID
    placed: dt.datetime
    items: list[Item]
    colour: Colour
    level: Level = Level.LOW
    address: Address | None = None
    notes: dict[str, list[dt.datetime | int]] = attrs.field(factory=dict)
    wait: dt.timedelta = dt.timedelta(0)
    _secret: str = ""
    parts: tuple[int, ...] = ()
    pair: tuple[int, Colour] | None = None
    related: list[Order] = attrs.field(factory=list)
    size: int = attrs.field(init=False, default=0)


@attrs.frozen
class Box(Generic[T]):
    content: T


@attrs.frozen
class Cat:
    meow: str


@attrs.frozen
class Dog:
    bark: str


text = st.text(st.characters(exclude_categories=["Cs"]))
# Fixed offsets: the wire keeps the instant, and in a zone with summer time some wall clock times are no instant.
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
aware = st.datetimes(timezones=offsets)
items = st.builds(
    Item, text, st.decimals(allow_nan=False) | st.decimals(allow_nan=False, places=2), st.frozensets(text, max_size=3)
)
orders: st.SearchStrategy[Order] = st.deferred(
    lambda: st.builds(
        Order,
        st.uuids(),
        st.datetimes() | aware,
        st.lists(items, max_size=3),
        st.sampled_from(Colour),
        st.sampled_from(Level),
        st.none() | st.builds(Address, text, st.none() | st.dates()),
        st.dictionaries(text, st.lists(st.integers() | aware, max_size=2), max_size=2),
        st.timedeltas(min_value=dt.timedelta(days=-40000), max_value=dt.timedelta(days=40000)),
        text,
        st.lists(st.integers(), max_size=3).map(tuple),
        st.none() | st.tuples(st.integers(), st.sampled_from(Colour)),
        st.lists(orders, max_size=1),
    )
)
plain: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner) | st.dictionaries(text, inner),
)


def bind(function: Callable[..., object], args: list[JSON]) -> tuple[object, ...]:
    return Parameters.of("W", function).binder()(args)


def through_json(hint: object, value: object) -> object:
    """*value* as a worker with *hint* receives it."""

    def perform(value: object) -> None: ...

    perform.__annotations__["value"] = hint
    wire = msgspec.json.encode(args_to_json("W", [value]))
    return bind(perform, msgspec.json.decode(wire))[0]


def refusal(value: object) -> ArgumentError:
    with pytest.raises(ArgumentError) as caught:
        args_to_json("W", [value])
    return caught.value


def misfit(hint: object, value: JSON) -> ArgumentError:
    def perform(value: object) -> None: ...

    perform.__annotations__["value"] = hint
    with pytest.raises(ArgumentError) as caught:
        bind(perform, [value])
    return caught.value


@given(orders)
def test_an_attrs_object_with_everything_in_it_comes_back_equal(order: Order) -> None:
    assert through_json(Order, order) == order


@pytest.mark.slow
@given(st.lists(plain))
def test_plain_json_goes_out_and_comes_back_unchanged(args: list[JSON]) -> None:
    assert args_to_json("W", args) == args
    assert msgspec.json.decode(msgspec.json.encode(args_to_json("W", args))) == args

    def perform(*args: JSON) -> None: ...

    assert bind(perform, args) == tuple(args)


@pytest.mark.parametrize(
    ("hint", "value", "wire"),
    [
        (dt.datetime, dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.UTC), "2026-01-02T03:04:05.000006+00:00"),
        (dt.datetime, dt.datetime(2026, 1, 2), "2026-01-02T00:00:00"),
        (dt.date, dt.date(2026, 1, 2), "2026-01-02"),
        (dt.timedelta, dt.timedelta(minutes=1, milliseconds=5), 60.005),
        (uuid.UUID, uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (decimal.Decimal, decimal.Decimal("1.10"), "1.10"),
        (pathlib.Path, pathlib.Path("/tmp/x"), "/tmp/x"),
        (Colour, Colour.RED, "red"),
        (Level, Level.HIGH, 2),
        (Point, Point(1, 2.5), [1, 2.5]),
        (Movie, {"title": "M", "released": dt.date(1931, 5, 11)}, {"title": "M", "released": "1931-05-11"}),
        (tuple[int, Colour], (1, Colour.RED), [1, "red"]),
        (set[str], {"b", "a", "c"}, ["a", "b", "c"]),
        (frozenset[dt.date], frozenset([dt.date(2026, 1, 2)]), ["2026-01-02"]),
        (deque[int], deque([1, 2]), [1, 2]),
        (tuple, (1, "a"), [1, "a"]),
        (Sequence[Colour], [Colour.RED], ["red"]),
        (Mapping[str, Colour], {"a": Colour.RED}, {"a": "red"}),
        (dict[Colour, int], {}, {}),
        (dt.date | None, None, None),
        (dt.date | int, 7, 7),
        (dt.date | int, dt.date(2026, 1, 2), "2026-01-02"),
        (Cat | Dog, Dog("woof"), {"bark": "woof"}),
        (Box[dt.date], Box(dt.date(2026, 1, 2)), {"content": "2026-01-02"}),
        (Annotated[dt.date, "a note"], dt.date(2026, 1, 2), "2026-01-02"),
        (UserId, 5, 5),
        (Literal["a", 1], "a", "a"),
        (Any, 2**200, 2**200),
        (float, 1.5, 1.5),
    ],
)
def test_each_kind_of_value_has_one_form_in_json_and_comes_back(hint: object, value: object, wire: JSON) -> None:
    assert args_to_json("W", [value]) == [wire]
    assert through_json(hint, value) == value


def test_a_union_takes_a_string_as_a_string_when_it_may_be_one() -> None:
    assert through_json(str | uuid.UUID, uuid.UUID(int=1)) == str(uuid.UUID(int=1))


def test_values_of_no_hint_go_by_what_they_are() -> None:
    value = (1, {"a": deque([Level.LOW])}, OrderedDict(x=Item("a", decimal.Decimal(1))))
    assert args_to_json("W", [value]) == [[1, {"a": [1]}, {"x": {"name": "a", "price": "1", "tags": []}}]]


def test_subclasses_of_plain_types_become_the_plain_types() -> None:
    class Name(str): ...

    class Ratio(float): ...

    done = args_to_json("W", [[Name("é"), Level.LOW, Ratio(0.5)], {Name("k"): True}])
    assert done == [["é", 1, 0.5], {"k": True}]
    assert [type(item) for item in done[0]] == [str, int, float]  # type: ignore[union-attr]  # object, as what came over the wire
    assert [type(key) for key in done[1]] == [str]  # type: ignore[union-attr]  # the same


def test_a_set_has_the_same_bytes_in_every_process() -> None:
    code = "from exq_anyio.arguments import to_json; print(to_json('W', '', {'a', 'b', 'c', 'd', 'e', 'f'}))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert seen == {"['a', 'b', 'c', 'd', 'e', 'f']\n"}


class Opaque: ...


@pytest.mark.parametrize(
    ("value", "path", "problem"),
    [
        (math.nan, "args[0]", "NaN"),
        ([1, math.inf], "args[0][1]", "infinity"),
        ({"items": [1, 2, 3, {"price": -math.inf}]}, "args[0].items[3].price", "infinity"),
        ("\ud800", "args[0]", "surrogate"),
        ([{"a": "é", "b": "x\udfff"}], "args[0][0].b", "surrogate"),
        ({"\ud800": 1}, r"args[0]['\ud800']", "surrogate"),
        ({"a b": {"é": [b""]}}, r"args[0]['a b']['\xe9'][0]", "bytes"),
        (bytearray(b"x"), "args[0]", "bytes"),
        (Opaque(), "args[0]", "test_arguments.Opaque"),
        ({"f": print}, "args[0].f", "builtin_function_or_method"),
        (Opaque, "args[0]", "builtins.type"),
        (Item, "args[0]", "builtins.type"),
        ({1: 2}, "args[0]", "strings, not int"),
        ({"a": {None: 2}}, "args[0].a", "strings, not NoneType"),
        ({Colour.RED: 2}, "args[0]", "strings, not Colour"),
        ({b"x"}, "args[0]", "bytes"),
        (Item("a", decimal.Decimal(1), frozenset(["\ud800"])), "args[0].tags", "surrogate"),
        (Address("\ud800"), "args[0].street", "surrogate"),
        (1 + 2j, "args[0]", "complex"),
        (iter([1]), "args[0]", "list_iterator"),
        (10**4300, "args[0]", "4,300 digits"),
    ],
    ids=lambda value: "" if isinstance(value, int) else None,
)
def test_what_json_cannot_say_is_refused_with_its_place(value: object, path: str, problem: str) -> None:
    error = refusal(value)
    assert (error.worker, error.path) == ("W", path)
    assert problem in error.problem
    str(error).encode("ascii")


def test_the_second_argument_is_named_as_such() -> None:
    with pytest.raises(ArgumentError) as caught:
        args_to_json("W", [1, math.nan])
    assert caught.value.path == "args[1]"


def test_an_integer_of_4300_digits_passes() -> None:
    assert args_to_json("W", [10**4300 - 1]) == [10**4300 - 1]


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_as_many_levels_as_ruby_reads_are_taken_and_no_more() -> None:
    assert args_to_json("W", [nested(MAX_DEPTH)]) == [nested(MAX_DEPTH)]
    error = refusal(nested(MAX_DEPTH + 1))
    assert (error.path, "98 levels" in error.problem) == ("args[0]", True)


def test_a_value_that_contains_itself_is_refused() -> None:
    circle: dict[str, Any] = {}
    circle["self"] = [circle]
    order = Order(uuid.UUID(int=0), dt.datetime(2026, 1, 1), [], Colour.RED)
    order.related.append(order)
    for value in (circle, order):
        error = refusal(value)
        assert (error.path, "contains itself" in error.problem) == ("args[0]", True)


def test_plain_values_are_passed_on_as_the_same_objects() -> None:
    args: list[object] = ["text", 10**10, True, None, 2.5]
    assert all(given is taken for given, taken in zip(args, args_to_json("W", args[:4]), strict=False))

    def perform(a: str, b: int, c: bool, d: None, e: float) -> None: ...

    assert all(given is taken for given, taken in zip(args, bind(perform, args), strict=True))  # type: ignore[arg-type]  # any list that a JSON array gives


@pytest.mark.parametrize(
    "hint",
    [
        *(str, int, float, bool, None, Any, object, list, dict, JSON, list[int], dict[str, Any], dict[str, list[JSON]]),
        *(int | None, str | int | None, list[dict[str, float | None]], Sequence[str], Mapping[str, int]),
        *(Literal["a", None], Annotated[list[int], []], UserId, list[UserId], Names, T),
    ],
    ids=str,
)
def test_hints_that_json_says_itself_need_no_conversion(hint: object) -> None:
    assert is_json(hint)


@pytest.mark.parametrize(
    "hint",
    [
        *(dt.date, list[dt.date], dict[str, uuid.UUID], dict[int, int], tuple[int, ...], set[int], Item, Colour, Days),
        *(int | dt.date, Literal[Colour.RED], Movie, bytes),
    ],
    ids=str,
)
def test_other_hints_do(hint: object) -> None:
    assert not is_json(hint)


@pytest.mark.parametrize(
    ("hint", "value", "path", "problem"),
    [
        (dt.datetime, "secret", "args[0]", "cannot be made into datetime (ValueError)"),
        (dt.datetime, 5, "args[0]", "expected a datetime in ISO 8601"),
        (uuid.UUID, "secret", "args[0]", "cannot be made into UUID (ValueError)"),
        (dt.timedelta, 1e300, "args[0]", "cannot be made into timedelta (OverflowError)"),
        (decimal.Decimal, "secret", "args[0]", "cannot be made into Decimal (InvalidOperation)"),
        (Colour, "secret", "args[0]", "cannot be made into Colour (ValueError)"),
        (list[dt.date], ["2026-01-01", "secret"], "args[0][1]", "cannot be made into date (ValueError)"),
        (set[str], "secret", "args[0]", "expected an array"),
        (tuple[int, str], [1], "args[0]", "cannot be made into tuple[int, str] (ValueError)"),
        (dict[str, uuid.UUID], {"k": "secret"}, "args[0].k", "cannot be made into UUID (ValueError)"),
        (dict[str, uuid.UUID], ["secret"], "args[0]", "cannot be made into dict[str, uuid.UUID] (AttributeError)"),
        (Item, "secret", "args[0]", "expected an object"),
        (Item, {"name": "a"}, "args[0].price", "is missing"),
        (Item, {"name": None, "price": 1}, "args[0].name", "expected a string"),
        (Item, {"name": "a", "price": 1, "tags": "secret"}, "args[0].tags", "expected an array"),
        (list[Item], [{"name": "a", "price": []}], "args[0][0].price", "expected a decimal number"),
        (Address | None, {"street": "a", "since": "secret"}, "args[0].since", "date"),
        (dt.date | int, "secret", "args[0]", "(ValueError)"),
        (Cat | Dog, {"secret": 1}, "args[0]", "cannot be made into"),
        (Movie, {"title": 5, "released": "2026-01-01"}, "args[0].title", "expected a string"),
    ],
)
def test_what_does_not_fit_a_hint_is_refused_with_its_place_and_without_the_value(
    hint: object, value: JSON, path: str, problem: str
) -> None:
    error = misfit(hint, value)
    assert (error.worker, error.path) == ("W", path)
    assert problem in error.problem
    assert "secret" not in str(error)
    assert error.__cause__ is None
    assert error.__context__ is None


def test_unknown_fields_of_an_object_are_ignored_because_the_enqueuer_may_be_newer() -> None:
    def perform(cat: Cat) -> None: ...

    assert bind(perform, [{"meow": "m", "claws": 4}]) == (Cat("m"),)


def test_variadic_arguments_are_each_made() -> None:
    def perform(first: int, *days: dt.date) -> None: ...

    assert bind(perform, [1, "2026-01-01", "2026-01-02"]) == (1, dt.date(2026, 1, 1), dt.date(2026, 1, 2))
    with pytest.raises(ArgumentError) as caught:
        bind(perform, [1, "2026-01-01", "x"])
    assert caught.value.path == "args[2]"


def test_trailing_defaults_are_left_to_the_function() -> None:
    def perform(day: dt.date, colour: Colour = Colour.RED) -> None: ...

    assert bind(perform, ["2026-01-01"]) == (dt.date(2026, 1, 1),)


@pytest.mark.parametrize(
    "hint",
    [Opaque, list[Opaque], bytes, Box[Opaque], list[int] | list[dt.date], "Missing", Callable[[int], int]],
    ids=str,
)
def test_a_hint_that_json_cannot_give_is_an_error_before_any_job_runs(hint: object) -> None:
    def perform(value: object) -> None: ...

    perform.__annotations__["value"] = hint
    with pytest.raises(WorkerError, match="type hint of 'value'"):
        Parameters.of("W", perform).binder()


def test_a_return_hint_that_is_not_there_at_run_time_does_no_harm() -> None:
    def perform(value: int) -> Missing: ...  # type: ignore[name-defined]  # noqa: F821  # a name that only type checkers would see

    assert bind(perform, [1]) == (1,)


def test_other_data_than_arguments_is_made_plain_too() -> None:
    assert to_json("W", "meta", {"a": Colour.RED}) == {"a": "red"}
    with pytest.raises(ArgumentError, match=r"^W meta\.a: JSON cannot say bytes"):
        to_json("W", "meta", {"a": b""})


@given(plain)
def test_what_we_say_the_standard_library_can_say_too(value: JSON) -> None:
    json.dumps(to_json("W", "", value), allow_nan=False)


def test_a_type_that_holds_itself_is_json_when_all_else_in_it_is() -> None:
    class Alias:
        """Like ``type Tree = list[Tree]``, which needs Python 3.12."""

    tree: Any = Alias()
    tree.__value__ = dict[str, list[tree]]
    assert is_json(tree)
    tree.__value__ = dict[str, dict[tree, dt.date]]
    assert not is_json(tree)
