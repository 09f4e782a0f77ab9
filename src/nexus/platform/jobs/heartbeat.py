"""A worker says in Redis that it lives, so that web processes on any machine can tell whether background work is done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from redis.asyncio import Redis

from nexus.kit.clock import Clock
from nexus.platform.db import Database

KEY = "nexus:worker:alive"
"""Holds the instant of the last sign of life of any worker, RFC 3339; it expires by itself."""
INTERVAL_SECONDS = 3.0
EXPIRES_SECONDS = 15


def heartbeat(redis: Redis, clock: Clock) -> Callable[[Database], Awaitable[object]]:
    """Return the job that gives the sign of life."""

    async def beat(_: Database) -> None:
        await redis.set(KEY, clock.now().isoformat(), ex=EXPIRES_SECONDS)

    return beat


async def last_heartbeat(redis: Redis) -> datetime | None:
    """Return when a worker last gave a sign of life; None when none has for fifteen seconds."""
    value = await redis.get(KEY)
    if value is None:
        return None
    return datetime.fromisoformat(value.decode() if isinstance(value, bytes) else value)
