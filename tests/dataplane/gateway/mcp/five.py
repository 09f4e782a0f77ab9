"""A server with five tools, one of which fails and one is slow: `python five.py PACKAGE TRANSPORT PORT [SPOOL]`.

With a spool the Python client's middleware records its calls there, too.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

SLOW_SECONDS = 0.2


def add(a: int, b: int) -> int:
    return a + b


def echo(text: str) -> str:
    return text


def fail(why: str) -> str:
    raise ValueError(f"because {why}")


def slow() -> str:
    time.sleep(SLOW_SECONDS)
    return "at last"


def secret() -> str:
    return os.environ.get("FIVE_SECRET", "none")


def main() -> None:
    package, transport, port, *spool = sys.argv[1:]
    options: dict[str, Any] = {}
    if spool:
        from nexus_client import Client
        from nexus_client.mcp import record

        client = Client("http://127.0.0.1:9", "nx_test", spool_dir=Path(spool[0]), linger_seconds=0)
        options["middleware"] = [record(client, server="five")]
    server: Any
    if package == "mcp":
        from mcp.server.mcpserver import MCPServer

        server = MCPServer("five", **options)
    else:
        from fastmcp import FastMCP

        server = FastMCP("five", **options)
    for tool in (add, echo, fail, slow, secret):
        server.tool()(tool)
    print("five is up", os.environ.get("FIVE_SECRET", ""), file=sys.stderr)
    if transport == "stdio":
        server.run(transport="stdio")
    else:
        server.run(transport="streamable-http" if package == "mcp" else "http", port=int(port))


if __name__ == "__main__":
    main()
