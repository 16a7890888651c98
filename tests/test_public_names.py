"""What ``import exq_anyio`` gives: every name is documented, and every type of it is one that says something."""

from __future__ import annotations

import enum
import inspect
import sys
import typing
from collections.abc import Iterator
from typing import Any

import pytest

import exq_anyio as exq

# Imported by those who ask for them, since it takes a third of the time of all the rest.
from exq_anyio.api import Api
from exq_anyio.node.health import Health


def functions(name: str) -> Iterator[tuple[str, Any]]:
    """The public functions and methods of a public name."""
    public: Any = getattr(exq, name)
    if inspect.isfunction(public):
        yield name, public
    elif inspect.isclass(public):
        for member in public.__dict__:
            found = inspect.getattr_static(public, member)
            found = getattr(found, "__func__", None) or getattr(found, "fget", None) or found
            if inspect.isfunction(found) and not member.startswith("_"):
                yield f"{name}.{member}", found


FUNCTIONS = dict(function for name in exq.__all__ for function in functions(name))


def hints(annotated: Any) -> dict[str, Any]:
    """Its type hints; at run time a JSON value is Any, which says more to a type checker."""
    module = inspect.getmodule(annotated)
    scope = {**vars(module or exq), **vars(typing), "JSON": object, "Api": Api, "Health": Health}
    return {
        name: hint
        for name, hint in typing.get_type_hints(inspect.unwrap(annotated), scope, scope).items()
        if not name.startswith("_")
    }


def parts(hint: Any) -> Iterator[Any]:
    yield hint
    for part in typing.get_args(hint):
        for inner in part if isinstance(part, list) else [part]:
            yield from parts(inner)


def test_all_is_sorted_and_all_of_it_is_there() -> None:
    assert sorted(exq.__all__) == exq.__all__
    assert [name for name in exq.__all__ if not hasattr(exq, name)] == []


def test_nothing_public_is_left_out_of_all() -> None:
    found = {name for name, value in vars(exq).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert found == set(exq.__all__) - {"__version__"}


@pytest.mark.parametrize("name", [name for name in exq.__all__ if name != "__version__"])
def test_a_public_name_is_documented(name: str) -> None:
    public = getattr(exq, name)
    if inspect.isroutine(public) or inspect.isclass(public):
        assert public.__doc__
        assert not public.__doc__.startswith(f"{name}(")  # what dataclasses make up
    else:
        assert documented_in_source(name)


def documented_in_source(name: str) -> bool:
    """Whether a string follows the assignment of *name* in the module that it comes from."""
    modules = (exq.middleware, exq.outcome, sys.modules[exq.Resource.__module__])
    sources = map(inspect.getsource, modules)
    return any(f"\n{name}: " in source and '\n"""' in source.partition(f"\n{name}: ")[2][:200] for source in sources)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_or_method_is_documented(name: str) -> None:
    assert FUNCTIONS[name].__doc__


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_public_signature_says_any(name: str) -> None:
    assert [hint for hint, kind in hints(FUNCTIONS[name]).items() if Any in parts(kind)] == []


@pytest.mark.parametrize("name", [name for name in exq.__all__ if inspect.isclass(getattr(exq, name))])
def test_no_public_field_says_any(name: str) -> None:
    public = getattr(exq, name)
    assert not issubclass(public, enum.Enum)
    assert [hint for hint, kind in hints(public).items() if Any in parts(kind)] == []
