"""`nexus sandbox`."""

from __future__ import annotations

import uvloop
from rich.console import Console

from nexus.sandbox.app import serve


def sandbox(*, host: str = "127.0.0.1", port: int = 8421) -> None:
    """Serve a provider on this machine that answers as OpenAI and Anthropic do; Ctrl-C stops it."""
    Console(highlight=False).print(f"The sandbox answers at http://{host}:{port}/v1")
    uvloop.run(serve(host, port))
