"""Decisions: the script's own time beside a one-key GCRA, and an engine beside other limiters.

The other limiters are installed for the measurement: see `peer_limiters`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

from msgspec import structs
from redis.asyncio import Redis

from bench import peer_limiters
from nexus.contracts.limits import Call, Limit, LimitTable, Rate
from nexus.dataplane.decide.engine import Admission
from nexus.dataplane.decide.scripts import Scripts, keys_of
from nexus.platform.redis.embedded import EmbeddedRedis

ORGANIZATION = UUID(int=0xBE)
_TURNS = 25
_ROUNDS = 5
SECOND = 1_000_000
# The well-known algorithm on one key with its expiry, on Redis's clock: what one limit costs when nothing else is wanted.
GCRA = """
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000000 + tonumber(t[2])
local emission, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local tat = tonumber(redis.call('GET', KEYS[1]) or now)
if tat < now then tat = now end
local next_tat = tat + emission
if next_tat - now > burst then return {0, next_tat - now - burst} end
redis.call('SET', KEYS[1], string.format('%.0f', next_tat), 'PX', math.ceil((next_tat - now) / 1000) + 1)
return {1, 0}
"""


def limit(number: int, *, a_second: int = 10**6, capacity: int = 10**9, **more: Any) -> Limit:
    more.setdefault("dimension", "requests")
    return Limit(
        id=UUID(int=number), name=f"limit-{number}", organization_id=ORGANIZATION, scope="organization", subject=None,
        method="token_bucket", capacity=capacity, rate=Rate.of(a_second, per_us=SECOND), **more,
    )  # fmt: skip


def engine(redis: Redis, *known: Limit) -> Admission:
    table = LimitTable(1, MappingProxyType({ORGANIZATION: known}))
    # Nothing here is to be decided by a failure policy because a core was busy.
    return Admission(redis, lambda: table, timeout_seconds=5)


async def _server_us(redis: Redis, run: Callable[[], Awaitable[object]], calls: int) -> float:
    """Microseconds of the server for one EVALSHA, by its own statistics."""
    await redis.config_resetstat()
    for _ in range(calls):
        await run()
    stats: dict[str, Any] = await redis.info("commandstats")
    return float(stats["cmdstat_evalsha"]["usec_per_call"])


async def script_times(redis: Redis, *, calls: int) -> str:
    scripts, keys = Scripts(redis), keys_of(ORGANIZATION)
    await scripts.open_cell(keys, has_lost=False)
    digest = await redis.script_load(GCRA)

    async def gcra() -> object:
        return await redis.evalsha(digest, 1, "gcra", "1", "1000000000")

    def decide(count: int, *, has_trail: bool) -> Callable[[], Awaitable[object]]:
        asked = [(limit(number), f"{number}", 1) for number in range(1, count + 1)]
        return lambda: scripts.decide(keys, asked, time.time_ns() // 1000, has_trail=has_trail)

    cases: list[tuple[str, Callable[[], Awaitable[object]]]] = [
        ("GCRA, one key", gcra),
        ("one bucket, no trail", decide(1, has_trail=False)),
        ("2 x 2 buckets, no trail", decide(4, has_trail=False)),
        ("2 x 2 buckets with trail", decide(4, has_trail=True)),
        ("12 buckets with trail", decide(12, has_trail=True)),
    ]
    samples: dict[str, list[float]] = {name: [] for name, _ in cases}
    # Turn by turn in short pieces, each beside a piece of GCRA's: whatever else the machine does meets all of them alike.
    for number in range(_TURNS + 1):
        for name, run in cases:
            took = await _server_us(redis, run, max(100, calls // _TURNS))
            if number:
                samples[name].append(took)
            await redis.delete(keys.trail)
    ratios = {
        name: sorted(took / reference for took, reference in zip(times, samples["GCRA, one key"], strict=True))
        for name, times in samples.items()
    }
    rows = [
        f"| {name} | {statistics.median(samples[name]):.1f} | {statistics.median(found):.2f} | "
        f"{found[len(found) // 4]:.2f} to {found[-1 - len(found) // 4]:.2f} |"
        for name, found in ratios.items()
    ]
    return (
        f"### The script's own time\n\n{_TURNS} turns; each script's time beside GCRA's in the same turn.\n\n"
        "| script | µs at the server, median | of GCRA's, median | middle half |\n|---|---:|---:|---|\n"
        + "\n".join(rows)
    )


async def _timed(run: Callable[[], Awaitable[object]], calls: int) -> tuple[float, float, float]:
    for _ in range(calls // 10):
        await run()
    taken: list[float] = []
    began = time.perf_counter()
    for _ in range(calls):
        at = time.perf_counter()
        await run()
        taken.append(time.perf_counter() - at)
    rate = calls / (time.perf_counter() - began)
    taken.sort()
    return rate, taken[calls // 2] * 1e6, taken[calls * 99 // 100] * 1e6


async def limiters(redis: Redis, url: str, *, calls: int) -> str:
    trouble = await asyncio.to_thread(peer_limiters.install)
    one, four = engine(redis, limit(1)), engine(redis, *(limit(number) for number in range(1, 5)))
    levels = engine(redis, *levels_and_dimensions())
    call = Call(organization_id=ORGANIZATION)
    deep = Call(organization_id=ORGANIZATION, application="shop", key_id=ORGANIZATION, tokens=30)
    privileged = structs.replace(call, is_privileged=True)
    cases: list[tuple[str, Callable[[], Awaitable[object]]]] = [
        (THREE_BY_TWO, lambda: levels.decide(deep)),
        ("this engine, one limit, by leases", lambda: one.decide(call)),
        # Privileged calls may use reserves, which are not leased: each of them is decided in Redis.
        ("this engine, one limit in Redis", lambda: one.decide(privileged)),
        ("this engine, four limits in Redis", lambda: four.decide(privileged)),
    ]
    cases += _limits_cases(url) + _aiolimiter_cases() + _throttled_cases(url) + await _pyrate_cases(redis)
    # Turn by turn, so that whatever else the machine does meets all of them alike.
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name, _ in cases}
    for _ in range(_ROUNDS):
        for name, run in cases:
            found[name].append(await _timed(run, calls // _ROUNDS))
    for made in (one, four, levels):
        await made.stop()
    rows, medians = [], {}
    for name, samples in found.items():
        rate, medians[name], high = (statistics.median(values) for values in zip(*samples, strict=True))
        rows.append(f"| {name} | {rate:,.0f} | {medians[name]:.1f} | {high:.0f} |")
    note = "".join(f"\n\n{name} is not measured: {why}." for name, why in trouble.items())
    peer = next((name for name in medians if name.startswith("throttled-py") and name.endswith("memory")), None)
    if peer is not None:
        note += f"\n\n**{THREE_BY_TWO} : {peer} = {medians[THREE_BY_TWO] / medians[peer]:.2f}** (p50)."
    head = "### One caller, one decision after another\n\n| limiter | decisions/s | p50 µs | p99 µs |\n|---|---:|---:|---:|\n"
    return head + "\n".join(rows) + note


THREE_BY_TWO = "this engine, three levels x two dimensions, by leases"


def levels_and_dimensions() -> list[Limit]:
    """Requests and model tokens, of an organization, of each application and of each key."""
    made = []
    for number, scope in enumerate(("organization", "application", "key")):
        for place, dimension in enumerate(("requests", "tokens")):
            made.append(replace(limit(10 * number + place + 1), scope=scope, dimension=dimension))  # type: ignore[arg-type]
    return made


def _limits_cases(url: str) -> list[tuple[str, Callable[[], Awaitable[object]]]]:
    if importlib.util.find_spec("limits") is None:
        return []
    name = f"limits {peer_limiters.version('limits')}"
    from limits import RateLimitItemPerSecond
    from limits.aio import storage, strategies

    item = RateLimitItemPerSecond(10**6)
    memory = strategies.FixedWindowRateLimiter(storage.MemoryStorage())
    found: list[tuple[str, Callable[[], Awaitable[object]]]] = [
        (f"{name}, fixed window in memory", partial(memory.hit, item, "bench")),
    ]
    path = url.removeprefix("unix://")
    shared = storage.RedisStorage(f"async+redis+unix://{path}", implementation="redispy")
    for kind, strategy in (
        ("fixed window", strategies.FixedWindowRateLimiter(shared)),
        ("sliding window counter", strategies.SlidingWindowCounterRateLimiter(shared)),
    ):
        found.append((f"{name}, {kind} in Redis", partial(strategy.hit, item, "bench")))
    return found


def _aiolimiter_cases() -> list[tuple[str, Callable[[], Awaitable[object]]]]:
    if importlib.util.find_spec("aiolimiter") is None:
        return []
    from aiolimiter import AsyncLimiter

    return [(f"aiolimiter {peer_limiters.version('aiolimiter')}, in memory", AsyncLimiter(10**9, 1).acquire)]


def _throttled_cases(url: str) -> list[tuple[str, Callable[[], Awaitable[object]]]]:
    if importlib.util.find_spec("throttled") is None:
        return []
    from throttled.asyncio import RateLimiterType, Throttled, rate_limiter, store

    name = f"throttled-py {peer_limiters.version('throttled-py')}"
    kept = {"memory": store.MemoryStore(), "Redis": store.RedisStore(server=url)}
    return [
        (
            f"{name}, GCRA in {place}",
            Throttled(
                key="bench", using=RateLimiterType.GCRA.value, quota=rate_limiter.per_sec(10**6), store=where
            ).limit,
        )
        for place, where in kept.items()
    ]


async def _pyrate_cases(redis: Redis) -> list[tuple[str, Callable[[], Awaitable[object]]]]:
    if importlib.util.find_spec("pyrate_limiter") is None:
        return []
    from pyrate_limiter import Duration, InMemoryBucket, Limiter, Rate, RedisBucket

    rates = [Rate(10**6, Duration.SECOND)]
    buckets = [("memory", InMemoryBucket(rates)), ("Redis", await RedisBucket.init(rates, redis, "bench"))]
    return [
        (
            f"pyrate-limiter {peer_limiters.version('pyrate-limiter')}, window log in {place}",
            partial(Limiter(bucket).try_acquire_async, "bench", blocking=False),
        )
        for place, bucket in buckets
    ]


async def measure(folder: Path, *, calls: int = 5000) -> str:
    """Measure on a Redis of its own; returns the section of the report."""
    server = EmbeddedRedis(folder)
    server.prepare()
    process = server.popen()
    try:
        while not server.is_ready():
            await asyncio.sleep(0.05)
        redis = Redis.from_url(server.url)
        parts = [
            "## Decisions",
            await script_times(redis, calls=calls),
            await limiters(redis, server.url, calls=calls),
        ]
        await redis.aclose()
        return "\n\n".join(parts)
    finally:
        process.terminate()
        process.wait(10)
