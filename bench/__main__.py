"""`make bench`: run the measurements and write `bench/RESULTS.md`."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
from pathlib import Path

from bench import (
    decide,
    errors,
    gateway,
    ingest,
    invariants,
    middleware,
    processes,
    queries,
    redis_away,
    report,
    streams,
    tools,
)
from bench.node import Node

SECTIONS = [
    "ingest", "queries", "gateway", "decide", "processes", "redis_away", "streams", "invariants", "errors", "tools",
    "middleware",
]  # fmt: skip
RESULTS = Path(__file__).with_name("RESULTS.md")


async def measure(arguments: argparse.Namespace, folder: Path) -> str:
    """Run what was asked for against one node and return the report."""
    parts = [report.heading(arguments.workers)]
    if {"ingest", "queries"} & set(arguments.only):
        node = Node(folder / "node", folder / "node.log", workers=arguments.workers)
        try:
            await node.start()
            if "ingest" in arguments.only:
                parts.append(await ingest.measure(node, rounds=arguments.rounds, rows=arguments.ingest_rows))
            if "queries" in arguments.only:
                parts.append(await queries.measure(node, sizes=arguments.query_rows, repeats=arguments.repeats))
        finally:
            node.stop()
    if "errors" in arguments.only:
        node = Node(folder / "errors", folder / "errors.log", workers=arguments.workers)
        try:
            await node.start()
            parts.append(
                await errors.measure(node, errors=arguments.errors, causes=arguments.causes, repeats=arguments.repeats)
            )
        finally:
            node.stop()
    if "tools" in arguments.only:
        node = Node(folder / "tools", folder / "tools.log", workers=arguments.workers)
        try:
            await node.start()
            parts.append(
                await tools.measure(node, calls=arguments.tool_calls, tools=arguments.tools, repeats=arguments.repeats)
            )
        finally:
            node.stop()
    if "gateway" in arguments.only:
        # One web process, as the proxy it is measured against is one.
        node = Node(folder / "gateway", folder / "gateway.log", workers=1)
        try:
            await node.start()
            parts.append(await gateway.measure(node, rounds=arguments.rounds, seconds=arguments.seconds, folder=folder))
        finally:
            node.stop()
    if "streams" in arguments.only:
        node = Node(folder / "streams", folder / "streams.log", workers=arguments.workers)
        try:
            await node.start()
            parts.append(await streams.measure(node, streams=arguments.streams))
        finally:
            node.stop()
    if "decide" in arguments.only:
        parts.append(await decide.measure(folder / "decide"))
    if "processes" in arguments.only:
        parts.append(await processes.measure(folder / "processes"))
    if "invariants" in arguments.only:
        parts.append(await asyncio.to_thread(invariants.measure, steps=arguments.steps))
    if "redis_away" in arguments.only:
        parts.append(await redis_away.measure(folder / "redis-away"))
    if "middleware" in arguments.only:
        parts.append(await middleware.measure(calls=arguments.calls))
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Read the command line, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--workers", type=int, default=2, help="web processes")
    parser.add_argument("--errors", type=int, default=1_000_000, help="errors stored before their pages are asked for")
    parser.add_argument("--causes", type=int, default=20_000, help="causes of these errors")
    parser.add_argument(
        "--tool-calls", type=int, default=300_000, help="calls of MCP tools stored before their pages are asked for"
    )
    parser.add_argument("--tools", type=int, default=10_000, help="tools that are called")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of ingest, each followed by raw COPY")
    parser.add_argument("--seconds", type=float, default=8, help="seconds a round of the gateway")
    parser.add_argument("--ingest-rows", type=int, default=200_000, help="rows a round")
    parser.add_argument("--query-rows", type=int, nargs="+", default=[1_000_000, 10_000_000], help="rows in the table")
    parser.add_argument("--repeats", type=int, default=100, help="times each question is asked")
    parser.add_argument("--streams", type=int, default=streams.STREAMS, help="live streams held open at once")
    parser.add_argument("--steps", type=int, default=300_000, help="steps of the state machines of admission")
    parser.add_argument(
        "--calls", type=int, default=5_000, help="calls of each MCP server, with its middleware and without"
    )
    parser.add_argument("--print-only", action="store_true", help="leave RESULTS.md as it is")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="nexus-bench-"))
    try:
        text = asyncio.run(measure(arguments, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(text)
    if not arguments.print_only:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
