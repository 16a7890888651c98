"""``exq ui``: the web UI alone, on Hypercorn."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import socket
from functools import partial
from typing import TYPE_CHECKING, cast

import click

from .logs import LEVELS, configure
from .options import Backend, backend_option, backend_options, import_from_here, redis_options, settings

if TYPE_CHECKING:
    from ..config import Config
    from ..ui import Authorize, WebUI

PORT = 8500
"""Where it listens unless told otherwise."""

GRACE = 2.0
"""Seconds that requests get when it ends."""


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: any that is free.")
@click.option("--read-only", is_flag=True, help="Only to look: no actions at all.")
@click.option("--allow-enqueue", is_flag=True, help="Let jobs be enqueued by hand.")
@click.option(
    "--authorize",
    metavar="MODULE:FUNCTION",
    help="Who may do what: called with the request and the action, says True or False; may be async.",
)
@click.option("--no-authorization", is_flag=True, help="Whoever reaches it may do all: something else guards it.")
@click.option("--hide", metavar="KEY", multiple=True, help="Hide what stands under KEY in arguments; may be repeated.")
@click.option("--title", default="exq", show_default=True, help="Stands above the navigation.")
@backend_option
@redis_options
@click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="info",
    envvar="EXQ_LOG_LEVEL",
    show_default=True,
    show_envvar=True,
    help="What is logged, on stderr.",
)
def ui(
    host: str,
    port: int,
    read_only: bool,
    allow_enqueue: bool,
    authorize: str | None,
    no_authorization: bool,
    hide: tuple[str, ...],
    title: str,
    backend: Backend,
    url: str | None,
    namespace: str | None,
    file: str | None,
    log_level: str,
) -> None:
    """Look at everything, and repair it, in a browser.

    It is for this machine alone, unless it is told who may do what (--authorize), or that something else guards it
    (--no-authorization): another --host needs one of them.  It ends with Ctrl-C or SIGTERM.

    Examples:
      exq ui
      exq ui --port 9000 --redis-url redis://10.0.0.5 --read-only
      exq ui --host 0.0.0.0 --authorize myapp.ops:may
    """
    import anyio

    configure(log_level)
    # No workers: their modules need not be here.
    config = settings(file=file, mode="api", url=url, namespace=namespace, imports=(), workers=())
    _check_installed()
    from ..ui import allow_all, create_app, hide_keys
    from ..ui.access import is_loopback, local_only

    if not is_loopback(host) and authorize is None and not no_authorization:
        raise click.UsageError(
            f"others see what listens at {host}: say who may do what with --authorize MODULE:FUNCTION, or "
            "--no-authorization if something else guards it"
        )
    if authorize is not None and no_authorization:
        raise click.UsageError("--authorize and --no-authorization contradict each other: give one of them")
    hook = _hook(authorize) if authorize is not None else allow_all if no_authorization else local_only
    make = partial(
        create_app,
        authorize=hook,
        read_only=read_only,
        allow_enqueue=allow_enqueue,
        redact=hide_keys(*hide) if hide else None,
        title=title,
    )
    listener = listen(host, port)
    anyio.run(_serve, config, make, listener, backend, backend=backend, backend_options=backend_options(backend))


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        ConfigError: it cannot be had.
    """
    from ..errors import ConfigError

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ConfigError("host", f"{host!r} is no address: {error.strerror}") from None
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(128)
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError("port", f"{port} at {host} is taken; give another --port, or 0 for any") from None
        raise ConfigError("host", f"cannot listen at {host}:{port}: {error.strerror}") from None
    return found


async def _serve(config: Config, make: partial[WebUI], listener: socket.socket, backend: Backend) -> None:
    from hypercorn.config import Config as ServerConfig

    from .. import app

    address, port = listener.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    async with app.open(config) as q:
        site = make(q)
        server = ServerConfig()
        server.bind = [f"fd://{listener.detach()}"]
        server.errorlog = None  # to our own log
        server.loglevel = "WARNING"
        server.graceful_timeout = GRACE
        server.include_server_header = False
        where = config.address().display()
        click.echo(f"exq ui: http://{shown}:{port}/ shows {where}, namespace {config.namespace!r}; Ctrl-C ends it")
        if backend == "trio":
            from hypercorn.trio import serve as serve_trio

            await serve_trio(site, server, shutdown_trigger=partial(_told_to_end, site))  # type: ignore[arg-type]  # Hypercorn's own types of ASGI
        else:
            from hypercorn.asyncio import serve

            await serve(site, server, shutdown_trigger=partial(_told_to_end, site))  # type: ignore[arg-type]  # Hypercorn's own types of ASGI


async def _told_to_end(site: WebUI) -> None:
    """Return when a signal says so, and have the streams of live updates end."""
    import signal

    import anyio

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            break
    site.close_streams()


def _check_installed() -> None:
    if missing := [name for name in ("hypercorn", "jinja2", "starlette") if importlib.util.find_spec(name) is None]:
        raise click.UsageError(f"the web UI needs {', '.join(missing)}: pip install 'exq-anyio[ui]'")


def _hook(name: str) -> Authorize:
    """The function that *name* says.

    Raises:
        ConfigError: there is none.
    """
    from ..errors import ConfigError

    module, colon, function = name.partition(":")
    if not colon:
        raise click.BadParameter("must be MODULE:FUNCTION, such as myapp.ops:may", param_hint="--authorize")
    import_from_here()
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError("authorize", f"{name} cannot be imported: {error}") from error
    if not callable(found):
        raise ConfigError("authorize", f"{name} is no function")
    return cast("Authorize", found)
