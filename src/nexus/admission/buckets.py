"""How buckets stand now, read from Redis without changing anything."""

from __future__ import annotations

import time
from typing import cast
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

from nexus.admission import service
from nexus.admission.errors import LimiterUnavailable
from nexus.admission.types import BucketStatus
from nexus.contracts.limits import LimitTable
from nexus.dataplane.decide.scripts import BucketState, keys_of

MOST_BUCKETS = 10_000
"""So many are looked at; an organization with more sees some of them."""


async def standing(redis: Redis | None, table: LimitTable, organization_id: UUID) -> list[BucketStatus]:
    """Return how the buckets of limits in force stand, the emptiest first. What is full and untouched has no bucket."""
    limits = {limit.id.hex: limit for limit in table.limits.get(organization_id, ())}
    if not limits:
        return []
    if redis is None:
        raise LimiterUnavailable
    keys = keys_of(organization_id)
    now_us = time.time_ns() // 1000
    found: list[BucketStatus] = []
    try:
        names: list[bytes] = []
        async for name in redis.scan_iter(match=keys.buckets.replace("[", "\\[") + "*", count=1000):
            names.append(name)
            if len(names) >= MOST_BUCKETS:
                break
        values = await redis.mget(names) if names else []
    except (RedisError, OSError, TimeoutError) as error:
        raise LimiterUnavailable(retry_after_seconds=1) from error
    for name, data in zip(names, values, strict=True):
        bucket = name.decode().removeprefix(keys.buckets)
        limit = limits.get(bucket.partition(":")[0])
        if limit is not None and data is not None:
            found.append(service.bucket_status(limit, bucket, BucketState.unpack(cast("bytes", data)), now_us))
    return sorted(found, key=lambda item: (item.fill, item.bucket))
