"""Shares of capacity that several organizations use: what each was asked for is told to Redis, and how much each is now is read.

How a share is decided says its bucket in Redis, and nothing here: a process that is told late, or not at all, decides by the same
numbers as all others. What is read is for people: headers and views.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from nexus.contracts.limits import Limit, Rate
from nexus.dataplane.decide.leases import BucketKey, Leases
from nexus.dataplane.decide.lessee import monotonic_us
from nexus.dataplane.decide.purses import Charges, Plan
from nexus.dataplane.decide.scripts import BucketState, Keys

_FORGOTTEN_TICKS = 60
"""So often told of with nothing asked for, a share is told of no more until somebody asks again."""


@dataclass(slots=True)
class _Met:
    limit: Limit
    told: int
    """Of all units asked for here, those that Redis was told of."""
    quiet: int = 0


class Shares:
    """The shares that calls of one process meet."""

    def __init__(self, redis: Redis, leases: Leases, now_us: Callable[[], int] = monotonic_us) -> None:
        self._redis = redis
        self._leases = leases
        self._now_us = now_us
        self._met: dict[BucketKey, _Met] = {}

    def met(self, plan: Plan, charges: Charges, *, is_counted: bool) -> None:
        """Note that a call meets shares; `is_counted` where leases count what it asks for."""
        now_us = self._now_us()
        for (limit, _), key, place in zip(plan.limits, plan.keys, plan.units_of, strict=True):
            if limit.share is None:
                continue
            known = self._met.get(key)
            if known is None:
                self._met[key] = _Met(limit, self._leases.asked_for(key, now_us))
            elif known.limit is not limit:
                # Another table has another limit, and knows nothing yet of what its share is now.
                if known.limit.share is not None:
                    limit.share.capacity, limit.share.rate = known.limit.share.capacity, known.limit.share.rate
                known.limit = limit
            if not is_counted:
                self._leases.note_many(key, 1, charges[place], now_us)

    async def tell(self) -> None:
        """Tell Redis what was asked for, and see what each share is now."""
        cells: dict[str, list[str]] = {}
        for cell, bucket in self._met:
            cells.setdefault(cell, []).append(bucket)
        now_us = self._now_us()
        for cell, buckets in cells.items():
            keys, asked = Keys(cell), {name: self._leases.asked_for((cell, name), now_us) for name in buckets}
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.mget([keys.buckets + name for name in buckets])
                for name in buckets:
                    # Where the count began anew, all of it is news.
                    told = self._met[cell, name].told
                    news = asked[name] - told if asked[name] >= told else asked[name]
                    if news:
                        pipe.hincrby(keys.asked, name, news)
                states: list[Any] = (await pipe.execute())[0]
            for name, state in zip(buckets, states, strict=True):
                self._saw((cell, name), asked[name], state)

    def _saw(self, key: BucketKey, asked: int, state: bytes | None) -> None:
        known = self._met[key]
        known.quiet = known.quiet + 1 if asked == known.told else 0
        known.told = asked
        share = known.limit.share
        if state is not None and share is not None:
            share.capacity, share.rate = present(BucketState.unpack(state))
        if known.quiet > _FORGOTTEN_TICKS:
            del self._met[key]


def present(state: BucketState) -> tuple[int, Rate]:
    """Return what a share is now, by its bucket: units at once, and its rate."""
    numerator = state.whole * state.denominator + state.part
    return state.capacity, Rate(numerator, state.denominator)
