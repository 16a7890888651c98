"""Completion in the shell: the script that turns it on, and names that only Redis knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem, get_completion_class

if TYPE_CHECKING:
    from ..api import Api

PATIENCE = 1.0
"""Seconds: whoever presses Tab waits no longer."""

SETS = ("retries", "scheduled", "dead")
"""The three places that are no queues, as they are named on the command line."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what turns on completion in a shell.

    Examples:
      eval "$(exq completion bash)"      # in ~/.bashrc; zsh likewise
      exq completion fish > ~/.config/fish/completions/exq.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    program = click.get_current_context().find_root().command
    click.echo(kind(program, {}, "exq", "_EXQ_COMPLETE").source())


def complete_queue(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The queues that there are."""
    return _starting(incomplete, _names(ctx, nodes=False))


def complete_place(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The three sets, and the queues that there are."""
    return _starting(incomplete, [*SETS, *_names(ctx, nodes=False)])


def complete_node(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The nodes that there are."""
    return _starting(incomplete, _names(ctx, nodes=True))


def _starting(incomplete: str, names: list[str]) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _names(ctx: click.Context, *, nodes: bool) -> list[str]:
    """Names from the Redis that the rest of the line, or the environment, says; none when it does not answer."""
    from ..errors import ExqError
    from .options import ask_api, settings

    async def question(api: Api) -> list[str]:
        import anyio

        with anyio.fail_after(PATIENCE):
            if nodes:
                return [node.node_id for node in await api.nodes()]
            return [queue.name for queue in await api.queues()]

    said = {name: ctx.params.get(name) for name in ("file", "url", "namespace")}
    try:
        return ask_api(settings(mode="api", imports=(), workers=(), **said), question)
    except (ExqError, TimeoutError, ExceptionGroup):
        return []
