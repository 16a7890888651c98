"""Parameters: what a worker takes, read once from its signature."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from cattrs.errors import StructureHandlerNotFoundError

from .arguments import Hook, first_fault, structure_hook
from .errors import ArgumentError, WorkerError
from .job import JSON
from .resource import given as default_of_given


@attrs.frozen(kw_only=True, eq=False)
class Parameters:
    """What a worker takes, all of it by position: the wire has no names."""

    worker: str
    """The wire name, for errors."""
    signature: inspect.Signature = attrs.field(repr=False)
    """Without ``self``."""
    scope: Mapping[str, Any] = attrs.field(repr=False)
    """The globals in which the hints are resolved."""
    least: int
    """As many arguments are needed."""
    most: int
    """As many are taken; ``sys.maxsize`` with ``*args``."""
    given: Mapping[str, object] = attrs.field(factory=dict[str, object], repr=False)
    """The hints of the parameters that are no arguments but given, see :data:`~exq_anyio.resource.given`."""

    @classmethod
    def of(cls, worker: str, function: Callable[..., object], *, skip_self: bool = False) -> Parameters:
        """Read *function*'s parameters.

        Raises:
            WorkerError: it has keyword-only parameters that are not given, or ``**kwargs``: the wire carries neither.
        """
        signature = _signature(function)
        parameters, given = _arguments_and_given(worker, list(signature.parameters.values())[skip_self:])
        named = [parameter for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL]
        return cls(
            worker=worker,
            signature=signature.replace(parameters=parameters),
            scope=getattr(inspect.unwrap(function), "__globals__", {}),
            least=sum(parameter.default is parameter.empty for parameter in named),
            most=len(named) if len(named) == len(parameters) else sys.maxsize,
            given=given,
        )

    def wanted(self) -> dict[str, object]:
        """The types of what is given, by name.

        Raises:
            WorkerError: a type hint cannot be resolved.
        """
        try:
            return {name: _resolved(hint, self.scope) for name, hint in self.given.items()}
        except Exception as error:
            raise WorkerError(f"{self.worker}: the type of what is given is not known: {error}") from error

    def check(self, count: int) -> None:
        """Raise ArgumentError unless *count* arguments can be taken."""
        if not self.least <= count <= self.most:
            raise self._misfit(count)

    def positions(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> tuple[object, ...]:
        """Bind a call to positions.  Gaps are filled with the defaults; defaults after the last one given are not sent.

        Raises:
            ArgumentError: the call does not fit the signature.
        """
        if not kwargs:
            self.check(len(args))
            return args
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentError(self.worker, "", str(error)) from None
        names = list(self.signature.parameters)
        last = max(names.index(name) for name in kwargs)
        bound.apply_defaults()
        return bound.args[: max(len(args), last + 1)]

    def binder(self) -> Callable[[list[JSON]], tuple[object, ...]]:
        """What turns a job's ``args`` into the arguments of the call: the number is checked first, then each is made.

        Raises:
            WorkerError: a type hint cannot be resolved, or no value of it can be made from JSON.
        """
        hooks, rest = self._hooks()
        least, most = self.least, self.most

        def bind_plain(args: list[JSON]) -> tuple[object, ...]:
            if least <= len(args) <= most:
                return tuple(args)
            raise self._misfit(len(args))

        def bind(args: list[JSON]) -> tuple[object, ...]:
            if not least <= len(args) <= most:
                raise self._misfit(len(args))
            padded = hooks + (rest,) * (len(args) - len(hooks))
            return tuple(
                value if hook is None else self._made(hook, index, value)
                for index, (hook, value) in enumerate(zip(padded, args, strict=False))
            )

        return bind if rest or any(hooks) else bind_plain

    def _hooks(self) -> tuple[tuple[Hook | None, ...], Hook | None]:
        hooks = {parameter.name: self._hook(parameter) for parameter in self.signature.parameters.values()}
        variadic = next((p.name for p in self.signature.parameters.values() if p.kind is p.VAR_POSITIONAL), "")
        rest = hooks.pop(variadic, None)
        return tuple(hooks.values()), rest

    def _hook(self, parameter: inspect.Parameter) -> Hook | None:
        try:
            if parameter.annotation is parameter.empty:
                return None
            return structure_hook(_resolved(parameter.annotation, self.scope))
        except Exception as error:
            problem = error.args[0] if isinstance(error, StructureHandlerNotFoundError) else error
            raise WorkerError(
                f"{self.worker}: the type hint of {parameter.name!r} cannot be made from JSON ({problem}); "
                "import what it names at run time and use types that JSON or cattrs can make, or Any"
            ) from error

    def _made(self, hook: Hook, index: int, value: JSON) -> object:
        try:
            return hook(value)
        except Exception as error:
            names = list(self.signature.parameters.values())
            hint = names[min(index, len(names) - 1)].annotation
            path, problem = first_fault(error, f"args[{index}]", hint)
        # Outside of the `except`: the cause would hold the value, and goes into logs and into the job's error.
        raise ArgumentError(self.worker, path, problem)

    def _misfit(self, count: int) -> ArgumentError:
        if self.most == sys.maxsize:
            taken = f"at least {_arguments(self.least)}"
        else:
            taken = _arguments(self.most) if self.least == self.most else f"{self.least} to {_arguments(self.most)}"
        return ArgumentError(self.worker, "", f"takes {taken}, {count} {'was' if count == 1 else 'were'} given")


def _arguments_and_given(
    worker: str, parameters: list[inspect.Parameter]
) -> tuple[list[inspect.Parameter], dict[str, object]]:
    """The parameters that are the arguments of a job, and the hints of those that are given."""
    arguments, given = list[inspect.Parameter](), dict[str, object]()
    for parameter in parameters:
        by_name = parameter.kind is parameter.KEYWORD_ONLY
        if parameter.default is default_of_given and by_name and parameter.annotation is not parameter.empty:
            given[parameter.name] = parameter.annotation
        elif parameter.default is default_of_given:
            raise WorkerError(f"{worker}: what is given needs a name and a type: *, {parameter.name}: Type = exq.given")
        elif by_name or parameter.kind is parameter.VAR_KEYWORD:
            stars = "" if by_name else "**"
            raise WorkerError(
                f"{worker}: {stars}{parameter.name} can only be given by name, and the arguments of a job go by "
                "position; make it positional, or, if it is a resource, say `= exq.given`"
            )
        else:
            arguments.append(parameter)
    return arguments, given


def _arguments(number: int) -> str:
    return f"{number} argument{'' if number == 1 else 's'}"


def _signature(function: Callable[..., object]) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        import annotationlib

        # Hints may name what is defined further down; they are resolved when a node is about to run jobs.
        return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(function)


def _resolved(annotation: object, scope: Mapping[str, Any]) -> object:
    def carrier() -> None: ...

    carrier.__annotations__ = {"hint": annotation}
    return typing.get_type_hints(carrier, globalns=dict(scope), include_extras=True)["hint"]
