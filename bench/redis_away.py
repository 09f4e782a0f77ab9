"""How long decisions take while Redis is away: the breaker is open, so no call may wait."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from uuid import UUID

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from nexus.contracts.limits import Call, FailurePolicy, Limit, LimitTable, Rate
from nexus.dataplane.decide.engine import Admission
from nexus.platform.redis.embedded import EmbeddedRedis

CALLS = 5000
_ORGANIZATION = UUID(int=7)
_POLICIES: Sequence[FailurePolicy] = ("closed", "open", "local")
_PATIENCE_SECONDS = 30


def _table(failure: FailurePolicy) -> LimitTable:
    limits = tuple(
        Limit(
            id=UUID(int=number), name=f"limit-{number}", organization_id=_ORGANIZATION, scope="organization", subject=None,
            dimension="requests", method="token_bucket", capacity=10**6, rate=Rate.of(10**6, per_us=10**6), failure=failure,
        )
        for number in (1, 2, 3)
    )  # fmt: skip
    return LimitTable(1, MappingProxyType({_ORGANIZATION: limits}))


async def _timed(engine: Admission, call: Call) -> str:
    """Decide many times; returns microseconds of processor time a call, p99 and worst in milliseconds."""
    seconds: list[float] = []
    used = 0.0
    for _ in range(CALLS):
        spent, began = time.process_time(), time.perf_counter()
        await engine.decide(call)
        seconds.append(time.perf_counter() - began)
        used += time.process_time() - spent
        # Probes of the breaker run beside the calls, as in a process that serves.
        await asyncio.sleep(0)
    ordered = sorted(seconds)
    return f"{used / CALLS * 1e6:.0f} | {ordered[CALLS * 99 // 100] * 1000:.2f} | {ordered[-1] * 1000:.1f}"


async def _without_limits() -> str:
    """The same loop where nothing is to be decided: what the machine alone adds."""
    client = redis.asyncio.Redis()
    told = await _timed(Admission(client, LimitTable), Call(organization_id=_ORGANIZATION))
    await client.aclose()
    return f"| - | no limits | {told} | |"


async def _round(folder: Path, failure: FailurePolicy, way: str) -> str:
    server = EmbeddedRedis(folder / f"{failure}-{way}")
    server.prepare()
    process = server.popen()
    client = redis.asyncio.Redis.from_url(server.url, socket_timeout=2, retry=Retry(NoBackoff(), 0))
    table = _table(failure)
    engine = Admission(client, lambda: table)
    call = Call(organization_id=_ORGANIZATION)
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not await asyncio.to_thread(server.is_ready):
                await asyncio.sleep(0.05)
            await engine.start()
            while not (await engine.decide(call)).is_admitted:
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGSTOP if way == "frozen" else signal.SIGKILL)
        turning: list[float] = []
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not engine.is_degraded:
                began = time.perf_counter()
                await engine.decide(call)
                turning.append(time.perf_counter() - began)
        told = await _timed(engine, call)
        assert engine.is_degraded
        return f"| {way} | {failure} | {told} | {max(turning) * 1000:.0f} |"
    finally:
        await engine.stop()
        await client.aclose()
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait(10)


async def measure(folder: Path) -> str:
    """Return the section of the report."""
    rows = [await _without_limits()]
    rows += [await _round(folder, failure, way) for way in ("stopped", "frozen") for failure in _POLICIES]
    return "\n".join(
        [
            "## Decisions while Redis is away",
            "",
            f"Three limits a call, {CALLS} calls one after another in one process. The promise: under 50 ms added once",
            "the breaker is open.",
            "",
            "| Redis | policy | processor, us a call | p99, ms | worst, ms | worst before it opened, ms |",
            "|---|---|---|---|---|---|",
            *rows,
        ]
    )
