"""``exq shell``: a Python prompt with ``q`` open, and ``await`` at the top."""

from __future__ import annotations

import ast
import code
import concurrent.futures
import inspect
import sys
import types
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from .options import Backend, backend_option, backend_options, import_from_here, redis_options, settings

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

    from ..config import Config
    from ..worker import BoundWorker

BANNER = """exq {version} on Python {python}; {backend}, {redis}, namespace {namespace!r}
q is open: try  await q.api.stats()  or  async for entry in q.api.dead(): print(entry.jid)
exq is the package{workers}; Ctrl-D ends."""


@click.command()
@click.argument("modules", metavar="[MODULE]...", nargs=-1)
@backend_option
@redis_options
@click.option("-c", "--command", "source", metavar="CODE", help="Run this, and end.")
def shell(modules: tuple[str, ...], backend: Backend, source: str | None, **given: str | None) -> None:
    """Open a Python prompt with q open.

    await and async for may be used at the top; names are completed by Tab.  MODULEs are imported, and their workers are
    there by their names.  It takes no jobs itself.

    Examples:
      exq shell
      exq shell myapp.jobs
      exq shell --command "print((await q.api.stats()).enqueued)"
    """
    from anyio.from_thread import start_blocking_portal

    from .. import app
    from ..worker import Registry

    import_from_here()
    config = settings(mode=("enqueuer", "api"), imports=modules or None, **given)
    workers = _named(Registry.build(config.workers, config.imports).workers.values())
    with (
        start_blocking_portal(backend, backend_options(backend)) as portal,
        portal.wrap_async_context_manager(app.open(config)) as q,
    ):
        names: dict[str, Any] = {**workers, "q": q, "exq": sys.modules["exq_anyio"], "__name__": "__main__"}
        if source is not None:
            _run(portal, source, names)
        else:
            _prompt(portal, names, _banner(config, backend, workers))


def _named(workers: Iterable[BoundWorker]) -> dict[str, object]:
    """The workers by the names of their functions and classes, and by those on the wire, where Python can say them."""
    found: dict[str, object] = {}
    for worker in workers:
        for name in (worker.name, getattr(worker.code, "__name__", "")):
            if name.isidentifier():
                found[name] = worker.code
    return found


def _banner(config: Config, backend: str, workers: Mapping[str, object]) -> str:
    from .. import __version__

    return BANNER.format(
        version=__version__,
        python=sys.version.split()[0],
        backend=backend,
        redis=config.address().display(),
        namespace=config.namespace,
        workers=f"; workers: {', '.join(sorted(workers))}" if workers else "",
    )


def _run(portal: BlockingPortal, source: str, names: dict[str, Any]) -> None:
    try:
        compiled = compile(source, "<command>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError as error:
        raise click.UsageError(f"--command: {error}") from None
    _finish(portal, types.FunctionType(compiled, names)())


def _finish(portal: BlockingPortal, result: object) -> object:
    """What *result* comes to, in the event loop; Ctrl-C cancels it."""
    if not inspect.iscoroutine(result):
        return result
    future: concurrent.futures.Future[object] = portal.start_task_soon(_awaited, result)
    try:
        return future.result()
    except KeyboardInterrupt:
        future.cancel()
        with suppress(concurrent.futures.CancelledError):
            future.exception()
        raise


async def _awaited(coroutine: Coroutine[Any, Any, object]) -> object:
    return await coroutine


def _prompt(portal: BlockingPortal, names: dict[str, Any], banner: str) -> None:
    with suppress(ImportError):
        import readline
        import rlcompleter

        readline.set_completer(rlcompleter.Completer(names).complete)
        readline.parse_and_bind("tab: complete")
    console = Console(portal, names)
    try:
        console.interact(banner, exitmsg="")
    except SystemExit as ended:
        sys.exit(ended.code)


class Console(code.InteractiveConsole):
    """The prompt; it runs in a thread of its own, what it awaits in the event loop."""

    def __init__(self, portal: BlockingPortal, names: dict[str, Any]) -> None:
        super().__init__(names)
        self.compile.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self._portal = portal

    def runcode(self, code: types.CodeType) -> None:
        """Run one statement."""
        try:
            _finish(self._portal, types.FunctionType(code, self.locals)())
        except SystemExit:
            raise
        except KeyboardInterrupt:
            self.write("\nKeyboardInterrupt\n")
        except BaseException:
            self.showtraceback()
