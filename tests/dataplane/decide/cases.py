"""Limits, strategies and a Redis whose clock a test sets."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import redis.asyncio
from hypothesis import strategies as st

from nexus.contracts.limits import DIMENSIONS, MICRO, Dimension, Limit, Rate
from nexus.dataplane.decide.scripts import BucketState, Keys, Scripts

ORGANIZATION = UUID(int=0xACE)
START = 1_790_000_000_000_000
CLOCK = "nx-test:now"
PRELUDE = f"local now = tonumber(redis.call('GET', '{CLOCK}'))"
SECOND = 1_000_000


def limit(
    number: int = 1,
    *,
    capacity: int = 10,
    units: int = 1,
    per_us: int = SECOND,
    method: str = "token_bucket",
    dimension: Dimension | None = None,
    **more: Any,
) -> Limit:
    """Make a limit; buckets refill by `units` each `per_us`."""
    is_bucket = method in {"token_bucket", "leaky_bucket"}
    if method == "fixed_window":
        more.setdefault("period", "minute")
    more.setdefault("scope", "organization")
    more.setdefault("subject", None)
    return Limit(
        id=UUID(int=number),
        name=f"limit-{number}",
        organization_id=ORGANIZATION,
        dimension=dimension or ("concurrency" if method == "concurrency" else "requests"),
        method=method,  # type: ignore[arg-type]
        capacity=capacity,
        rate=Rate.of(units, per_us=per_us) if is_bucket else None,
        **more,
    )


def rates() -> st.SearchStrategy[tuple[int, int]]:
    """Rates from 0.01 a second to 1,000,000 a second, in whole units and in micro-units, so many in so many microseconds."""
    plain = st.builds(lambda hundredths: (hundredths, 100 * SECOND), st.integers(1, 10**8))
    micro = st.builds(lambda hundredths: (hundredths * MICRO // 100, SECOND), st.integers(1, 10**8))
    calendar = st.builds(
        lambda units, seconds: (units, seconds * SECOND), st.integers(1, 10**6), st.sampled_from([1, 60, 3600, 86400])
    )
    return st.one_of(plain, micro, calendar)


@st.composite
def limits(draw: st.DrawFn, number: int = 1) -> Limit:
    """Any limit of any method."""
    method = draw(st.sampled_from(["token_bucket", "token_bucket", "leaky_bucket", "fixed_window", "concurrency"]))
    version = draw(st.integers(1, 3))
    shadow = draw(st.sampled_from([False, False, False, True]))
    if method in {"token_bucket", "leaky_bucket"}:
        units, per_us = draw(rates())
        capacity = draw(st.one_of(st.integers(1, 200), st.integers(1, 6 * 10**13)))
        dimension: Dimension = draw(st.sampled_from(["requests", "operations", "bytes", "tokens"]))
    else:
        units, per_us, capacity = 1, SECOND, draw(st.integers(1, 30))
        dimension = "concurrency" if method == "concurrency" else draw(st.sampled_from(["tokens", "money", "requests"]))
    more: dict[str, Any] = {}
    if method == "fixed_window":
        more["period"] = draw(st.sampled_from(["minute", "hour", "day", "month"]))
        more["zone"] = draw(st.sampled_from(["UTC", "Europe/Zurich", "Asia/Kolkata", "America/St_Johns"]))
    return limit(
        number, capacity=capacity, units=units, per_us=per_us, method=method, dimension=dimension,
        reserve=draw(st.integers(0, min(capacity - 1, 5))), version=version, is_shadow=shadow, **more,
    )  # fmt: skip


def known_dimensions() -> list[Dimension]:
    """All dimensions but calls in flight."""
    return [name for name in DIMENSIONS if name != "concurrency"]


class ClockedRedis:
    """The real Redis and scripts, with the time set by the test."""

    def __init__(self, client: redis.asyncio.Redis, now: int = START) -> None:
        self.client = client
        self.now = now
        self.scripts = Scripts(client, prelude=PRELUDE)
        self.keys = Keys(ORGANIZATION.hex)

    async def open(self) -> None:
        """Begin a cell."""
        await self.set(self.now)
        await self.scripts.open_cell(self.keys, has_lost=False)

    async def set(self, now: int) -> None:
        """Set the clock."""
        self.now = now
        await self.client.set(CLOCK, now)

    async def decide(self, asked: list[tuple[Limit, str, int]], **more: Any) -> list[int]:
        """Decide as the engine does."""
        return await self.scripts.decide(self.keys, asked, self.now, **more)

    async def state(self, bucket: str) -> BucketState | None:
        """Return a bucket's state."""
        data = await self.client.get(self.keys.buckets + bucket)
        return BucketState.unpack(data) if data is not None else None

    async def everything(self) -> dict[bytes, object]:
        """Return all keys and what they hold, for comparing before and after."""
        found: dict[bytes, object] = {}
        for key in sorted(await self.client.keys("nx:*")):
            kind = await self.client.type(key)
            if kind == b"string":
                found[key] = await self.client.get(key)
            elif kind == b"zset":
                found[key] = await self.client.zrange(key, 0, -1, withscores=True)
            elif kind == b"stream":
                found[key] = await self.client.xrange(key)
            else:
                found[key] = kind
        return found
