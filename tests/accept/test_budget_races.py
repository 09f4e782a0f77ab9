"""A thousand calls from twelve processes at a budget that pays for a hundred: twenty runs, twenty times a hundred."""

from __future__ import annotations

import pytest

from nexus.platform.db import Database
from tests.conftest import TestOrganization
from tests.costs.budget_race import race
from tests.postgres import TestServer


@pytest.mark.parametrize("run", range(20))
@pytest.mark.parametrize("kills", [False, True])
async def test_a_pausing_budget_pays_for_exactly_a_hundred_calls_whoever_dies(
    run: int, kills: bool, database: Database, organization: TestOrganization, postgres: TestServer, database_name: str,
    redis_url: str,
) -> None:  # fmt: skip
    await race(database, organization, postgres.urls(database_name), redis_url, kills=kills)
