"""Versions published and rolled back while several processes decide: each has them by itself, and nothing is lost."""

from __future__ import annotations

from tests.admission.conftest import Api
from tests.admission.publishing import publish_under_load
from tests.conftest import TestOrganization
from tests.postgres import TestServer


async def test_each_process_has_a_version_by_itself_and_no_decision_fails_while_it_comes(
    api: Api, redis_url: str, postgres: TestServer, database_name: str, organization: TestOrganization
) -> None:
    # The promise is a second, which `make accept` holds it to; here only that it comes, however busy the machine is.
    await publish_under_load(api, redis_url, postgres.urls(database_name), organization, turns=1)
