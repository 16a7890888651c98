"""The web UI: an ASGI application that looks at everything in a namespace, and repairs it.

::

    app = exq_anyio.ui.create_app(config)

Needs the extra ``ui``: ``pip install 'exq-anyio[ui]'``.
"""

from .access import Action, Authorize, allow_all
from .app import WebUI, create_app
from .settings import Redact, hide_keys

__all__ = ["Action", "Authorize", "Redact", "WebUI", "allow_all", "create_app", "hide_keys"]
