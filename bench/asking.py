"""Asks the questions of pages over HTTP and writes down how long the answers took."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Took:
    """How long the answers to one question took, in ms."""

    p50: float
    p95: float
    processor: float | None
    """Processor time of all the node's processes for each answer; a process that ended meanwhile takes its time with it."""

    @classmethod
    def of(cls, times: Sequence[float], processor: float) -> Took:
        """Sum up single times."""
        p95 = statistics.quantiles(times, n=20)[-1]
        return cls(statistics.median(times), p95, processor if processor > 0 else None)


async def ask(node: Node, questions: Questions, repeats: int) -> dict[str, Took]:
    """Ask each question, a path with its parameters, on one connection."""
    took: dict[str, Took] = {}
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as client:
        for name, (path, parameters) in questions.items():
            before = _processor_seconds(node)
            times = await _ask(client, node.url + path, parameters, repeats)
            seconds = (_processor_seconds(node) - before) / (repeats + WARM_UP)
            took[name] = Took.of(times, seconds * 1000)
    return took


def table_of(took: Mapping[str, Took]) -> str:
    """Return a table of how long answers took, and what it says of the bound."""
    lines = ["| question | p50, ms | p95, ms | processor time, ms |", "|---|---:|---:|---:|"]
    for name, one in took.items():
        processor = "–" if one.processor is None else f"{one.processor:.1f}"
        lines.append(f"| {name} | {one.p50:.1f} | {one.p95:.1f} | {processor} |")
    worst = max(took, key=lambda name: took[name].p95)
    lines += ["", f"The slowest, {worst}: **{took[worst].p95:.0f} ms** at p95; asked: under {BOUND_MS} ms."]
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
