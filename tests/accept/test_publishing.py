"""A version that is published, or rolled back, is in force in every process within a second."""

from __future__ import annotations

from nexus.platform.db import Database
from tests.admission.conftest import opened
from tests.admission.publishing import publish_under_load
from tests.conftest import TestOrganization
from tests.postgres import TestServer


async def test_a_version_is_in_force_in_every_process_within_a_second(
    database: Database, organization: TestOrganization, postgres: TestServer, database_name: str, redis_url: str
) -> None:
    async with opened(database, organization, redis_url) as api:
        seconds = await publish_under_load(api, redis_url, postgres.urls(database_name), organization, turns=5)

    print(f"in force everywhere after {', '.join(f'{item:.2f}' for item in seconds)} s")
    assert max(seconds) <= 1.0
