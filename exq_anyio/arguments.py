"""Arguments: from a call to JSON on the wire, and from the wire to a call.

To JSON, each value goes by what it *is*, so that a worker that is only known by its name is served as well.  From
JSON, each value goes by the worker's type hint: where JSON has no such type (``datetime``, an attrs class), cattrs
makes one.  A union takes what JSON already says first: ``str | UUID`` receives a string.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import math
import pathlib
import types
import typing
import uuid
from collections import abc, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias, cast

import attrs
import cattrs
from cattrs.cols import list_structure_factory
from cattrs.errors import (
    ClassValidationError,
    IterableValidationError,
    IterableValidationNote,
    StructureHandlerNotFoundError,
)
from cattrs.strategies import configure_union_passthrough

from .errors import ArgumentError
from .job import JSON

MAX_DEPTH = 98
"""Arrays and objects inside one another, in one argument: Ruby reads 100 levels (``max_nesting``), and the job itself
and its ``args`` are two of them."""

INT_LIMIT = 10**4300
"""An integer has at most 4,300 digits: readers refuse more (``sys.int_info.default_max_str_digits``)."""


# To JSON


class _Refused(Exception):
    """A value that JSON cannot say; the path is put together on the way out."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = ""

    def inside(self, step: str) -> _Refused:
        self.path = step + self.path
        return self


class _TooDeep(_Refused):
    def inside(self, step: str) -> _Refused:
        return self  # a path of 98 steps helps nobody; the argument is named


def args_to_json(worker: str, args: Sequence[object]) -> list[JSON]:
    """*args* as they go on the wire; values that are plain already are the same objects.

    Raises:
        ArgumentError: JSON cannot say a value; ``path`` is its place, such as ``"args[0].items[3].price"``.
    """
    if all(map(_is_plain, args)):
        return cast("list[JSON]", list(args))
    return [to_json(worker, f"args[{index}]", value) for index, value in enumerate(args)]


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind is str:
        ascii_only: bool = value.isascii()  # any other may hold a lone surrogate
        return ascii_only
    return kind is bool or value is None or (kind is int and -(2**63) <= value < 2**64)


def to_json(worker: str, path: str, value: object) -> JSON:
    """*value* as JSON can say it.  *worker* and *path* are for the error.

    Raises:
        ArgumentError: bytes, NaN, infinities, lone surrogates, keys that are no strings, more than ``MAX_DEPTH``
            levels (a circle too), integers above 4,300 digits, and objects of any other class.
    """
    try:
        return _plain(value, 0)
    except _Refused as refused:
        raise ArgumentError(worker, path + refused.path, refused.problem) from None


def _plain(value: Any, depth: int) -> JSON:
    if _is_plain(value):
        return value  # type: ignore[no-any-return]  # it is plain JSON
    return _made_plain.dispatch(type(value))(value, depth)


@functools.singledispatch
def _made_plain(value: object, depth: int) -> JSON:
    return _object(((name, getattr(value, name)) for name in _field_names(cast("abc.Hashable", type(value)))), depth)


@functools.lru_cache(maxsize=1024)
def _field_names(kind: type) -> tuple[str, ...]:
    if attrs.has(kind):
        return tuple(field.name for field in attrs.fields(kind) if field.init)
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind) if field.init)
    raise _Refused(
        f"JSON cannot say a {kind.__module__}.{kind.__qualname__}; pass plain values, an attrs class or a dataclass"
    )


@_made_plain.register(type(None))
@_made_plain.register(bool)
def _(value: bool | None, depth: int) -> JSON:
    return value


@_made_plain.register
def _(value: int, depth: int) -> JSON:
    if not -INT_LIMIT < value < INT_LIMIT:
        raise _Refused("an integer above 4,300 digits; pass it as a string")
    return int(value)


@_made_plain.register
def _(value: float, depth: int) -> JSON:
    if not math.isfinite(value):
        raise _Refused("JSON cannot say NaN or infinity; pass None or a string")
    return float(value)


@_made_plain.register
def _(value: str, depth: int) -> JSON:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _Refused("a string with a lone surrogate, which UTF-8 cannot say") from None
    return str.__str__(value)


@_made_plain.register(bytes)
@_made_plain.register(bytearray)
@_made_plain.register(memoryview)
def _(value: object, depth: int) -> JSON:
    raise _Refused("JSON cannot say bytes; decode them, or pass base64")


@_made_plain.register
def _(value: enum.Enum, depth: int) -> JSON:
    return _plain(value.value, depth)


@_made_plain.register
def _(value: datetime.date, depth: int) -> JSON:
    return value.isoformat()  # datetime is a date too


@_made_plain.register
def _(value: datetime.timedelta, depth: int) -> JSON:
    return value.total_seconds()


@_made_plain.register(uuid.UUID)
@_made_plain.register(decimal.Decimal)
@_made_plain.register(pathlib.PurePath)
def _(value: object, depth: int) -> JSON:
    return str(value)


@_made_plain.register
def _(value: abc.Mapping, depth: int) -> JSON:  # type: ignore[type-arg]  # singledispatch wants the bare class
    return _object(value.items(), depth)


@_made_plain.register(list)
@_made_plain.register(tuple)
@_made_plain.register(deque)
def _(value: Sequence[object], depth: int) -> JSON:
    _check_depth(depth)
    items: list[JSON] = []
    for item in value:
        try:
            items.append(_plain(item, depth + 1))
        except _Refused as refused:
            raise refused.inside(f"[{len(items)}]") from None
    return items


@_made_plain.register(set)
@_made_plain.register(frozenset)
def _(value: Iterable[object], depth: int) -> JSON:
    _check_depth(depth)
    # A set has no order, and hash order differs from process to process; sorted, equal jobs have equal bytes.
    return sorted((_plain(item, depth + 1) for item in value), key=repr)


def _object(pairs: Iterable[tuple[object, object]], depth: int) -> JSON:
    _check_depth(depth)
    members: dict[str, JSON] = {}
    for key, value in pairs:
        if not isinstance(key, str):
            raise _Refused(f"the keys of a JSON object are strings, not {type(key).__qualname__}")
        try:
            members[cast("str", _plain(key, depth))] = _plain(value, depth + 1)
        except _Refused as refused:
            raise refused.inside(_step(key)) from None
    return members


def _check_depth(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise _TooDeep(f"more than {MAX_DEPTH} levels, or a value that contains itself")


def _step(key: object) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    text = str(key)
    # ASCII, for a path is printed and logged.
    return f".{text}" if text.isidentifier() and text.isascii() else f"[{text[:80]!a}]"


# From JSON


class _Mismatch(ValueError):
    """A value of another JSON type than the hint needs.  The message never holds the value."""


_converter = cattrs.Converter()
Hook: TypeAlias = Callable[[object], object]


def _strict(kind: type, accepted: tuple[type, ...], what: str, make: Callable[[Any], object]) -> None:
    """Let *kind* be made by *make*, from values of exactly the *accepted* types: cattrs would make "None" of None."""

    def structure(value: object, _: object) -> object:
        if type(value) not in accepted:
            raise _Mismatch(f"expected {what}")
        return make(value)

    _converter.register_structure_hook(kind, structure)


_strict(str, (str,), "a string", str)
_strict(int, (int,), "an integer", int)
_strict(bool, (bool,), "true or false", bool)
_strict(float, (float, int), "a number", float)
_strict(datetime.datetime, (str,), "a datetime in ISO 8601", datetime.datetime.fromisoformat)
_strict(datetime.date, (str,), "a date in ISO 8601", datetime.date.fromisoformat)
_strict(datetime.timedelta, (float, int), "seconds", lambda seconds: datetime.timedelta(seconds=seconds))
_strict(uuid.UUID, (str,), "a UUID", uuid.UUID)
_strict(decimal.Decimal, (str, int, float), "a decimal number", lambda value: decimal.Decimal(str(value)))
_strict(bytes, (), "no bytes, for JSON cannot say them", bytes)
_strict(pathlib.Path, (str,), "a path", pathlib.Path)
configure_union_passthrough(str | int | float | bool | None, _converter)


_ARRAYS: dict[object, Callable[[list[object]], object]] = {
    **dict.fromkeys((list, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable), list),
    **dict.fromkeys((set, abc.MutableSet), set),
    **dict.fromkeys((frozenset, abc.Set), frozenset),
    deque: deque,
    tuple: tuple,
}


def _is_array(hint: object) -> bool:
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[1:] == (...,)
    return (typing.get_origin(hint) or hint) in _ARRAYS


@_converter.register_structure_hook_factory(_is_array)
def _array_hook(hint: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    make = _ARRAYS[typing.get_origin(hint) or hint]
    item = (*typing.get_args(hint), Any)[0]
    items = list_structure_factory(cast(type, types.GenericAlias(list, item)), converter)

    def structure(value: object, _: object) -> object:
        if type(value) is not list:
            raise _Mismatch("expected an array")  # cattrs would take a string for a list of letters
        return make(items(value, hint))

    return structure


def _is_named_tuple(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields")


@_converter.register_structure_hook_factory(_is_named_tuple)
def _named_tuple_hook(hint: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    # cattrs takes the bare annotations, which are strings under `from __future__ import annotations`.
    items: Any = types.GenericAlias(tuple, tuple(typing.get_type_hints(hint, include_extras=True).values()))
    make = converter.get_structure_hook(items)
    return lambda value, _: hint(*make(value, items))


def _is_record(hint: object) -> bool:
    kind = typing.get_origin(hint) or hint
    return isinstance(kind, type) and (attrs.has(kind) or dataclasses.is_dataclass(kind))


@_converter.register_structure_hook_factory(_is_record)
def _record_hook(hint: type, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    make: Callable[[Any, Any], Any] = converter.gen_structure_attrs_fromdict(hint)

    def structure(value: object, _: object) -> object:
        if type(value) is not dict:
            raise _Mismatch("expected an object")
        return make(value, hint)

    return structure


def structure_hook(hint: object) -> Hook | None:
    """What makes a value of *hint* from JSON, or None where JSON is already what the hint says.

    Raises:
        Exception: whatever cattrs raises for a hint that it has no way to make.
    """
    if is_json(hint):
        return None
    if hint is bytes:
        raise StructureHandlerNotFoundError("JSON cannot say bytes", bytes)
    make: Callable[[object, object], object] = _converter.get_structure_hook(cast(Any, hint))
    return lambda value: make(value, hint)


def is_json(hint: object, seen: tuple[object, ...] = ()) -> bool:
    """Whether every value of *hint* that came out of JSON may be passed on as it is."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if any(hint is alias for alias in seen):
        return True  # a recursive alias: what else it holds decides
    if origin is typing.Annotated or origin is typing.Final:
        return is_json(inner[0], seen)
    if origin is typing.Literal:
        return all(type(value) in (str, int, bool, type(None)) for value in inner)
    if origin in _UNIONS:
        return all(is_json(member, seen) for member in inner)
    if _ARRAYS.get(origin or hint) is list:
        return all(is_json(item, seen) for item in inner)
    if (origin or hint) in (dict, abc.Mapping, abc.MutableMapping):
        return not inner or (inner[0] in (str, Any) and is_json(inner[1], seen))
    base = getattr(hint, "__supertype__", getattr(hint, "__value__", None))  # NewType, and `type X = ...`
    if base is not None:
        return is_json(base, (*seen, hint))
    return isinstance(hint, typing.TypeVar) or hint in _AS_THEY_COME


_UNIONS = (typing.Union, types.UnionType)
_AS_THEY_COME = (str, int, float, bool, None, type(None), Any, object)


def first_fault(error: Exception, path: str, hint: object) -> tuple[str, str]:
    """The place at or below *path* where the making of a *hint* failed with *error*, and what is wrong there.

    The value is left out: it may be a secret, and errors are logged and written into the job.
    """
    while isinstance(error, ClassValidationError | IterableValidationError):
        noted, others = error.group_exceptions()
        if not noted:
            error = others[0]
            continue
        error, note = noted[0]
        path += _step(note.index if isinstance(note, IterableValidationNote) else note.name)
        hint = note.type
        if isinstance(error, KeyError):
            return path, "is missing"
    if isinstance(error, _Mismatch):
        return path, str(error)
    return path, f"cannot be made into {_name(hint)} ({type(error).__name__})"


def _name(hint: object) -> str:
    return hint.__qualname__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
