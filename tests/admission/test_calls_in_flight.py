"""Calls in flight of several processes while Redis is killed, and comes back with nothing: never more than the limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nexus.platform.db import Database
from nexus.platform.db.embedded import make_reachable, own
from tests.admission.conftest import opened
from tests.admission.deciders import deciders, most_at_once, outcomes_of, tell_all, until_all, until_any
from tests.conftest import TestOrganization
from tests.dataplane.conftest import OwnRedis
from tests.postgres import TestServer

AT_ONCE, PROCESSES, CALLERS = 6, 3, 4


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRedis]:
    """A Redis to kill."""
    folder = tmp_path_factory.mktemp("own-redis")
    make_reachable(folder)
    own(folder)
    made = OwnRedis(folder)
    made.start()
    yield made
    made.kill()


def admitted(counted: dict[str, Any], way: str) -> int:
    return int(counted["outcomes"].get(way, 0))


async def test_calls_in_flight_stay_within_the_limit_while_redis_is_killed_and_comes_back_empty(
    server: OwnRedis, postgres: TestServer, database: Database, database_name: str, organization: TestOrganization
) -> None:
    flight = {"name": "flight", "dimension": "concurrency", "method": "concurrency", "amount": str(AT_ONCE)}
    async with opened(database, organization, server.url) as api:
        made = await api.post("quotas", {"name": "q", "scope": "organization", "limits": [flight], "reason": "few"})
        assert made.status_code == 201
        urls = postgres.urls(database_name)
        async with deciders(PROCESSES, server.url, urls, organization.id, timeout_seconds=0.5) as processes:
            await tell_all(processes, "load", call={}, callers=CALLERS, hold=60.0, lasts=0.03)
            await until_all(processes, lambda counted: admitted(counted, "admitted") > 30)
            server.kill()
            await until_all(processes, lambda counted: bool(counted["is_degraded"]))
            # Those that had calls under way go on.
            await until_any(processes, lambda counted: admitted(counted, "admitted without Redis") > 0)
            server.start()
            await until_all(processes, lambda counted: not counted["is_degraded"])
            for process in processes:
                least = admitted(await process.tell("count"), "admitted") + 20
                await until_all([process], lambda counted, least=least: admitted(counted, "admitted") > least)  # type: ignore[misc]
            counted = await tell_all(processes, "stop")

    assert most_at_once(counted) <= AT_ONCE
    assert set(outcomes_of(counted)) <= {"admitted", "refused", "admitted without Redis", "refused without Redis"}
