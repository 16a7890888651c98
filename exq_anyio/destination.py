"""Where the jobs of a worker go, if that depends on an argument: ``exports:{tenant}``."""

from __future__ import annotations

import string
from collections.abc import Sequence
from inspect import Parameter
from uuid import UUID

import attrs

from .errors import ArgumentError, InvalidQueue, WorkerError
from .parameters import Parameters
from .setting import check_queue_name


@attrs.frozen(kw_only=True)
class Destination:
    """A queue for each value of one argument, or of several."""

    worker: str
    """The wire name, for errors."""
    template: str
    """As it was declared; ``{name}`` stands for a parameter, ``{{`` for a brace."""
    parts: tuple[tuple[str, str | None], ...]
    """Text, each with the name of the parameter whose value follows it."""
    places: dict[str, tuple[int, object]]
    """By name, the position of each parameter, and its default."""

    @classmethod
    def of(cls, worker: str, queue: object, parameters: Parameters) -> Destination | None:
        """What the *queue* of a worker says; None when it is the same for all jobs.

        Raises:
            WorkerError: it names what is no parameter.
        """
        if not isinstance(queue, str) or not {"{", "}"} & set(queue):
            return None
        known = {
            one.name: (at, one.default)
            for at, one in enumerate(parameters.signature.parameters.values())
            if one.kind is not Parameter.VAR_POSITIONAL
        }
        try:
            parsed = list(string.Formatter().parse(queue))
        except ValueError:
            raise WorkerError(f"{worker}: the braces in the queue {queue!r} do not match; write {{{{ for one") from None
        for _, name, form, conversion in parsed:
            if name is not None and (name not in known or form or conversion):
                names = ", ".join(known) or "none"
                raise WorkerError(f"{worker}: the queue {queue!r} names {name!r}, its parameters are: {names}")
        parts = tuple((text, name) for text, name, _, _ in parsed)
        return cls(worker=worker, template=queue, parts=parts, places=known)

    def queue(self, args: Sequence[object]) -> str:
        """The queue of a job with *args*.

        Raises:
            ArgumentError: a value can be no part of a name; the message does not hold it.
        """
        made, named = "", ""
        for text, name in self.parts:
            made += text
            if name is not None:
                named = named or name
                made += self._value(name, args)
        try:
            return check_queue_name(made)
        except InvalidQueue as error:
            raise ArgumentError(self.worker, named, f"makes a name that no queue can have: {error.problem}") from None

    def queue_if_any(self, args: Sequence[object]) -> str:
        """The queue of a job with *args*; what is declared when there is none, which matters only if it is sent so."""
        try:
            return self.queue(args)
        except ArgumentError:
            return self.template

    def _value(self, name: str, args: Sequence[object]) -> str:
        at, default = self.places[name]
        value = args[at] if at < len(args) else default
        if isinstance(value, str) and value:
            return str.__str__(value)
        if isinstance(value, int | UUID) and not isinstance(value, bool):
            return str(value)
        what = "empty text" if value == "" else type(value).__name__
        problem = f"is part of the queue's name, and must be text, an int or a UUID, not {what}"
        raise ArgumentError(self.worker, name, problem)
