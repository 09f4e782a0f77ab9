"""A real Redis whose clock the test sets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from tests.dataplane.decide.cases import ClockedRedis


@pytest.fixture
async def clocked(redis_url: str) -> AsyncIterator[ClockedRedis]:
    """An empty Redis with one open cell."""
    client = redis.asyncio.Redis.from_url(redis_url)
    made = ClockedRedis(client)
    await made.open()
    yield made
    await client.aclose()
