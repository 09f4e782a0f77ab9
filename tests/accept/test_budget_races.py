"""A thousand calls from twelve processes at a budget that pays for a hundred: twenty runs, twenty times a hundred."""

from __future__ import annotations

import pytest

from tests.dataplane.decide.budget_race import race


@pytest.mark.parametrize("run", range(20))
async def test_a_pausing_budget_pays_for_exactly_a_hundred_calls(run: int, redis_url: str) -> None:
    await race(redis_url, kills=False)


@pytest.mark.parametrize("run", range(20))
async def test_the_same_with_half_of_the_processes_killed_midway(run: int, redis_url: str) -> None:
    await race(redis_url, kills=True)
