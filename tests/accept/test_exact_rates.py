"""Any rate and burst over a hundred thousand calls: the scripts do what exact rational numbers do."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from fractions import Fraction

import pytest
import redis.asyncio

from nexus.dataplane.decide.model import Cell
from tests.dataplane.decide.cases import SECOND, ClockedRedis, limit
from tests.dataplane.decide.test_scripts import STATUS

CALLS = 100_000


@pytest.fixture
async def clocked(redis_url: str) -> AsyncIterator[ClockedRedis]:
    """An empty Redis with one open cell and a clock that the test sets."""
    client = redis.asyncio.Redis.from_url(redis_url)
    made = ClockedRedis(client)
    await made.open()
    yield made
    await client.aclose()


@pytest.mark.parametrize("burst_seconds", [1, 60])
@pytest.mark.parametrize("hundredths", [1, 33, 100, 3333, 12_345_678, 100_000_000])
async def test_a_rate_is_exact_over_a_hundred_thousand_calls(
    clocked: ClockedRedis, hundredths: int, burst_seconds: int
) -> None:
    chance = random.Random(hundredths)
    capacity = max(1, hundredths * burst_seconds // 100)
    known, model = limit(1, capacity=capacity, units=hundredths, per_us=100 * SECOND), Cell()
    # On average a little more is asked for than there is.
    wanted = max(1, capacity // 7)
    pause_us = max(1, wanted * 100 * SECOND // hundredths)

    for number in range(CALLS):
        await clocked.set(clocked.now + round(chance.expovariate(1.2) * pause_us))
        answer = await clocked.decide([(known, "b", wanted)], has_trail=False)
        assert answer[0] == STATUS[model.decide([(known, "b", wanted)], clocked.now).outcome], number

    state = await clocked.state("b")
    assert state is not None
    assert state.level + Fraction(state.fraction, state.denominator) == model.buckets["b"].level
