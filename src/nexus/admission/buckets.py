"""How buckets stand now, read from Redis without changing anything."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import cast
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

from nexus.admission import service
from nexus.admission.errors import LimiterUnavailable
from nexus.admission.types import BucketStatus
from nexus.contracts.limits import Limit, LimitTable
from nexus.dataplane.decide.scripts import BucketState, keys_of
from nexus.dataplane.decide.shares import present

MOST_BUCKETS = 10_000
"""So many are looked at; an organization with more sees those that take longest to be full again."""
_AT_ONCE = 1_000


async def standing(redis: Redis | None, table: LimitTable, organization_id: UUID) -> list[BucketStatus]:
    """Return how the buckets of limits in force stand, the emptiest first. What is full and untouched has no bucket."""
    limits = {limit.id.hex: limit for limit in table.limits.get(organization_id, ())}
    if not limits:
        return []
    if redis is None:
        raise LimiterUnavailable
    now_us = time.time_ns() // 1000
    try:
        states = await read_states(redis, organization_id, MOST_BUCKETS)
    except (RedisError, OSError, TimeoutError) as error:
        raise LimiterUnavailable(retry_after_seconds=1) from error
    found: list[BucketStatus] = []
    for name, state in states.items():
        limit = limits.get(name.partition(":")[0])
        if limit is not None:
            found.append(service.bucket_status(limit, name, state, now_us))
    return sorted(found, key=lambda item: (item.fill, item.bucket))


async def read_states(redis: Redis, organization_id: UUID, most: int) -> dict[str, BucketState]:
    """Read the buckets of an organization by name, those first that take longest to be full again."""
    keys = keys_of(organization_id)
    listed = cast("list[bytes]", await redis.zrange(keys.bucket_list, 0, most - 1, desc=True))
    names = [name.decode() for name in listed]
    states: dict[str, BucketState] = {}
    for start in range(0, len(names), _AT_ONCE):
        part = names[start : start + _AT_ONCE]
        values = cast("list[bytes | None]", await redis.mget([keys.buckets + name for name in part]))
        for name, data in zip(part, values, strict=True):
            if data is not None:
                states[name] = BucketState.unpack(data)
    return states


async def see_shares(redis: Redis | None, organization_id: UUID, limits: Sequence[Limit]) -> None:
    """See what an organization's shares of capacities are now; while Redis is away they stay as they were last seen."""
    shares = [limit for limit in limits if limit.share is not None]
    if redis is None or not shares:
        return
    prefix = keys_of(organization_id).buckets
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        values = cast("list[bytes | None]", await redis.mget([prefix + limit.id.hex for limit in shares]))
        for limit, data in zip(shares, values, strict=True):
            if data is not None and limit.share is not None:
                limit.share.capacity, limit.share.rate = present(BucketState.unpack(data))
