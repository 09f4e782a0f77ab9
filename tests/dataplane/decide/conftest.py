"""Real Redis servers: the shared one with a clock that the test sets, and one of the test's own to stop and kill."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

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


@pytest.fixture
async def nodes() -> AsyncIterator[list[Any]]:
    """Engines that a test makes, closed after it."""
    made: list[Any] = []
    yield made
    for node in made:
        await node.close()


async def until(check: object, *, seconds: float = 20) -> None:
    """Wait until something holds; the test fails when it does not for long."""
    async with asyncio.timeout(seconds):
        while not check():  # type: ignore[operator]
            await asyncio.sleep(0.01)
