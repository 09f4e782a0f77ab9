"""Many processes at one limit, with leases: how much of the ideal they admit, how much too much, and how often Redis is asked.

Each is a process of its own with the engine as the product runs it. Buckets refill while they ask; windows and money are used up.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from redis.asyncio import Redis

from bench.decide import ORGANIZATION, engine, limit
from nexus.contracts.limits import Call, Limit
from nexus.platform.redis.embedded import EmbeddedRedis

Kind = Literal["bucket", "window", "money"]
PRICE = 7
A_SECOND, SECONDS = 1000, 8.0


@dataclass(frozen=True)
class Case:
    """One row: so many processes ask so many times as often as the limit allows."""

    kind: Kind
    processes: int
    offered: float
    burst: float = 1.0
    """Buckets: seconds of the rate."""

    @property
    def calls(self) -> int:
        """Windows and money: how many calls they pay for, half of what is asked."""
        return int(A_SECOND * self.offered * SECONDS * 0.5)

    def limit(self) -> Limit:
        """Return the limit they share."""
        if self.kind == "bucket":
            return limit(9, a_second=A_SECOND, capacity=int(A_SECOND * self.burst))
        is_money = self.kind == "money"
        return Limit(
            id=UUID(int=9), name="limit-9", organization_id=ORGANIZATION, scope="organization", subject=None,
            dimension="money" if is_money else "requests", method="fixed_window", period="year",
            currency="USD" if is_money else "", capacity=self.calls * (PRICE if is_money else 1),
        )  # fmt: skip


CASES = [
    Case("bucket", 1, 2), Case("bucket", 1, 5), Case("bucket", 8, 0.8), Case("bucket", 8, 2), Case("bucket", 8, 5),
    Case("bucket", 8, 5, 0.1), Case("bucket", 32, 2),
    Case("window", 1, 2), Case("window", 8, 2), Case("window", 32, 2),
    Case("money", 1, 2), Case("money", 8, 2), Case("money", 32, 2),
]  # fmt: skip


async def worker(url: str, case: Case) -> None:
    """Ask as fast as this process's part of what is offered; print admitted, asked, begin and end."""
    redis = Redis.from_url(url)
    made = engine(redis, case.limit())
    call = Call(organization_id=ORGANIZATION, money=PRICE, currency="USD")
    # Nobody begins before all are there.
    await redis.incr("ready")
    while int(await redis.get("ready")) < case.processes:
        await asyncio.sleep(0.05)
    pause = case.processes / (A_SECOND * case.offered)
    began, began_at, asked, admitted = time.perf_counter(), time.time(), 0, 0
    while (now := time.perf_counter() - began) < SECONDS:
        if asked * pause > now:
            await asyncio.sleep(min(asked * pause - now, 0.01))
            continue
        asked += 1
        admitted += (await made.decide(call)).is_admitted
        if asked % 32 == 0:
            await asyncio.sleep(0)
    print(admitted, asked, began_at, time.time())
    await made.stop()
    await redis.aclose()


async def _row(redis: Redis, url: str, number: int) -> str:
    case = CASES[number]
    await redis.flushall()
    await redis.config_resetstat()
    started = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.processes", url, str(number),
            stdout=subprocess.PIPE, cwd=Path(__file__).parents[1],
        )
        for _ in range(case.processes)
    ]  # fmt: skip
    answers = [(await item.communicate())[0].split() for item in started]
    admitted, asked = (sum(int(item[place]) for item in answers) for place in (0, 1))
    span = max(float(item[3]) for item in answers) - min(float(item[2]) for item in answers)
    stats: dict[str, Any] = await redis.info("commandstats")
    # From the first decision to the last one nobody can have been given more than this.
    most = A_SECOND * (case.burst + span) if case.kind == "bucket" else case.calls
    what = f"{case.kind}, {case.burst:g} s" if case.kind == "bucket" else case.kind
    return (
        f"| {what} | {case.processes} | {case.offered:g} | {asked:,} | {admitted:,} | {admitted / min(asked, most):.3f} | "
        f"{max(0.0, admitted - most):.0f} | {stats['cmdstat_evalsha']['calls'] / asked:.3f} |"
    )


async def measure(folder: Path) -> str:
    """Measure on a Redis of its own; returns the section of the report."""
    server = EmbeddedRedis(folder)
    server.prepare()
    process = server.popen()
    try:
        while not server.is_ready():
            await asyncio.sleep(0.05)
        redis = Redis.from_url(server.url)
        rows = [await _row(redis, server.url, number) for number in range(len(CASES))]
        await redis.aclose()
    finally:
        process.terminate()
        process.wait(10)
    return (
        f"## Processes at one limit\n\nFor {SECONDS:g} s each. A bucket gives {A_SECOND:,}/s and holds so many seconds of it; "
        "a window, and money, pays for half\nof the calls that are to be asked. What is offered is in times of that rate.\n\n"
        "| limit | processes | offered | asked | admitted | of the ideal | overshoot | round trips a call |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|\n" + "\n".join(rows)
    )


if __name__ == "__main__":
    asyncio.run(worker(sys.argv[1], CASES[int(sys.argv[2])]))
