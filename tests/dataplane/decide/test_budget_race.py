"""Many processes at one pausing budget: exactly what it pays for, whoever dies."""

from __future__ import annotations

import pytest

from tests.dataplane.decide.budget_race import race


@pytest.mark.parametrize("kills", [False, True])
async def test_twelve_processes_together_admit_exactly_what_a_budget_pays_for(redis_url: str, kills: bool) -> None:
    await race(redis_url, kills=kills)
