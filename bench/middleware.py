"""What the Python client's middleware adds to a call of a tool, in servers of the packages `mcp` and `fastmcp`.

A server with it and one without it are called turn by turn in one process, over the packages' own in-memory transport, so that
what else the machine does meets both alike. The records are written to a spool that nobody takes.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nexus_client import Client
from nexus_client.mcp import record

WARM_UP = 200
ASKED_P50_MS = 0.2
"""What the middleware may add at the median."""


def _add(a: int, b: int) -> int:
    return a + b


def _caller(package: str, middleware: list[Any]) -> Any:
    """Return the package's own client of a server in this process."""
    server: Any
    if package == "mcp":
        from mcp.client import Client as McpClient
        from mcp.server.mcpserver import MCPServer

        server = MCPServer("bench", middleware=middleware)
        made: Any = McpClient(server)
    else:
        from fastmcp import Client as FastClient
        from fastmcp import FastMCP

        server = FastMCP("bench", middleware=middleware)
        made = FastClient(server)
    server.tool(name="add")(_add)
    return made


async def _times(package: str, spool: Path, calls: int) -> dict[str, tuple[list[int], list[int]]]:
    """Return of both servers what each call took, and the processor time of the thread that serves, in ns."""
    client = Client("http://127.0.0.1:9", "nx_bench", spool_dir=spool)
    times: dict[str, tuple[list[int], list[int]]] = {"without": ([], []), "with": ([], [])}
    async with contextlib.AsyncExitStack() as stack:
        callers = {
            name: await stack.enter_async_context(_caller(package, middleware))
            for name, middleware in (("without", []), ("with", [record(client, server="bench")]))
        }
        for number in range(WARM_UP + calls):
            for name in ("without", "with") if number % 2 else ("with", "without"):
                began, worked = time.perf_counter_ns(), time.thread_time_ns()
                result = await callers[name].call_tool("add", {"a": number, "b": 2})
                took = time.perf_counter_ns() - began, time.thread_time_ns() - worked
                if result.is_error:
                    raise RuntimeError(f"the tool failed: {result.content}")
                if number >= WARM_UP:
                    for values, value in zip(times[name], took, strict=True):
                        values.append(value)
    client.close()
    return times


async def measure(*, calls: int) -> str:
    """Call each server so many times; returns the section of the report."""
    lines = [
        "| package | call without, p50 | added, p50 | added processor time, p50 | added, p95 |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for package in ("mcp", "fastmcp"):
        with tempfile.TemporaryDirectory(prefix="nexus-bench-") as folder:
            times = await _times(package, Path(folder), calls)
        (plain, plain_cpu), (watched, watched_cpu) = times["without"], times["with"]
        added = statistics.median(watched) - statistics.median(plain)
        worked = statistics.median(watched_cpu) - statistics.median(plain_cpu)
        tail = statistics.quantiles(watched, n=20)[-1] - statistics.quantiles(plain, n=20)[-1]
        lines.append(
            f"| `{package}` {version(package)} | {statistics.median(plain) / 1e6:.3f} ms | {added / 1e6:.3f} ms"
            f" | {worked / 1e6:.3f} ms | {tail / 1e6:.3f} ms |"
        )
    return (
        f"## Middleware of MCP servers\n\n{calls:,} calls of a tool that adds two numbers by a client in the server's process,"
        " turn by turn with a server that has no middleware; processor time is that of the thread that serves."
        f" Asked: under {ASKED_P50_MS} ms added at the median.\n\n" + "\n".join(lines)
    )
