"""Many processes at one pausing budget: exactly what it pays for, whoever dies."""

from __future__ import annotations

import pytest

from nexus.platform.db import Database
from tests.conftest import TestOrganization
from tests.costs.budget_race import race
from tests.postgres import TestServer


@pytest.mark.parametrize("kills", [False, True])
async def test_twelve_processes_together_admit_exactly_what_a_budget_pays_for(
    database: Database,
    organization: TestOrganization,
    postgres: TestServer,
    database_name: str,
    redis_url: str,
    kills: bool,
) -> None:
    await race(database, organization, postgres.urls(database_name), redis_url, kills=kills)
