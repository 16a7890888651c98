"""Random steps on a real server, until there were enough."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from .world import World, world


class Stepping(RuleBasedStateMachine):
    """A machine whose steps are made in one world, and counted."""

    world: ClassVar[World]
    made: ClassVar[Counter[str]]
    """How often what was done; ``"steps"``: how many steps in all."""


def run_steps(machine: type[Stepping], backend: str, steps: int, *, examples: int) -> None:
    """Make at least *steps* steps with *machine*, *examples* beginnings at a time, and print what was done."""
    rounds = settings(
        max_examples=examples,
        stateful_step_count=60,
        phases=(Phase.generate, Phase.shrink),
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    with world(backend) as opened:
        machine.world, machine.made = opened, Counter()
        while machine.made["steps"] < steps:
            run_state_machine_as_test(machine, settings=rounds)
    print(f"{backend}: {machine.made}")
