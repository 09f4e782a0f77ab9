"""Asks the questions of pages over HTTP and writes down how long the answers took."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import aiohttp
import psutil

from bench.node import KEY, Node
from nexus.platform.db import Database

WARM_UP = 5
BOUND_MS = 300
"""What the 95th percentile of each answer is to stay under."""
Questions = Mapping[str, tuple[str, dict[str, str]]]


def since(days: float) -> dict[str, str]:
    """Return the range of the last days, as pages ask for it."""
    return {"from": (datetime.now(UTC) - timedelta(days=days)).isoformat()}


async def table_of(node: Node, questions: Questions, repeats: int) -> str:
    """Ask each question, a path with its parameters, on one connection; returns a table and what it says of the bound."""
    lines = ["| question | p50, ms | p95, ms | processor time, ms |", "|---|---:|---:|---:|"]
    worst = ("", 0.0)
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as client:
        for name, (path, parameters) in questions.items():
            before = _processor_seconds(node)
            times = await _ask(client, node.url + path, parameters, repeats)
            took = (_processor_seconds(node) - before) / (repeats + WARM_UP) * 1000
            p95 = statistics.quantiles(times, n=20)[-1]
            worst = max(worst, (name, p95), key=lambda item: item[1])
            # A process that ended meanwhile takes its time with it: then nobody knows.
            told = f"{took:.1f}" if took > 0 else "–"
            lines.append(f"| {name} | {statistics.median(times):.1f} | {p95:.1f} | {told} |")
    lines += ["", f"The slowest, {worst[0]}: **{worst[1]:.0f} ms** at p95; asked: under {BOUND_MS} ms."]
    return "\n".join(lines)


def _processor_seconds(node: Node) -> float:
    total = node.others_seconds()
    for process in node.web_processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += float(times.user + times.system)
    return total


async def _ask(client: aiohttp.ClientSession, url: str, parameters: dict[str, str], repeats: int) -> list[float]:
    times: list[float] = []
    for number in range(repeats + WARM_UP):
        began = time.perf_counter()
        async with client.get(url, params=parameters) as answer:
            body = await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{url}: {answer.status} {body[:300].decode()}")
        if number >= WARM_UP:
            times.append((time.perf_counter() - began) * 1000)
    return times


async def ensure_partitions(database: Database, table: str, start: datetime, end: datetime) -> None:
    """Make the months that records of a range are stored in, as the writer does."""
    async with database.as_writer(()) as connection:
        at = start
        while at < end + timedelta(days=1):
            await connection.execute("SELECT platform.ensure_partition_v1($1, $2)", table, at)
            at += timedelta(days=1)
