"""``python -m exq_anyio.cli`` is ``exq``."""

from .main import main

main()
