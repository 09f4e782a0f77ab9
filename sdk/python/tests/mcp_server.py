"""A server with five tools, one of which fails and one is slow: `python mcp_server.py PACKAGE TRANSPORT PORT SPOOL`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from nexus_client import Client
from nexus_client.mcp import record

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


def upper(text: str) -> str:
    return text.upper()


def main() -> None:
    package, transport, port, spool = sys.argv[1:]
    client = Client("http://127.0.0.1:9", "nx_test", spool_dir=Path(spool), linger_seconds=0)
    options: dict[str, Any] = {"middleware": [record(client, server="five", responses=True)]}
    server: Any
    if package == "mcp":
        from mcp.server.mcpserver import MCPServer

        server = MCPServer("five", **options)
    else:
        from fastmcp import FastMCP

        server = FastMCP("five", **options)
    for tool in (add, echo, fail, slow, upper):
        server.tool()(tool)
    if transport == "stdio":
        server.run(transport="stdio")
    else:
        server.run(transport="streamable-http" if package == "mcp" else "http", port=int(port))


if __name__ == "__main__":
    main()
